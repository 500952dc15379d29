"""`vivace edit` from words to files: frames, times, sound, prompts, sizes, bad input, interruption."""

import shlex
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from small_clips import CLIP_HEIGHT, CLIP_WIDTH, picture, read_clip, write_clip
from vivace.cli.edit_outputs import EditOutputs
from vivace.core.errors import InputError
from vivace.data.video_source import probe

VARIABLE_MS = [0, 40, 80, 200, 233, 400, 410, 500, 620, 660, 700]


def test_every_frame_is_edited_at_its_own_time_and_the_sound_stays(edit, tmp_path):
    source = write_clip(tmp_path / "variable.mp4", VARIABLE_MS, last_ms=100)
    outcome = edit(source, tmp_path / "out.mp4")
    assert outcome.code == 0
    assert outcome.err == ""
    times, frames = read_clip(tmp_path / "out.mp4")
    assert times == pytest.approx(VARIABLE_MS, abs=1)
    assert frames.shape[1:] == (48, 64, 3)
    info = probe(tmp_path / "out.mp4")
    assert float(info.duration_s) == pytest.approx(0.8, abs=0.002)
    assert [track.codec for track in info.audio] == ["aac"]
    report = outcome.report
    assert report["frames_in"] == report["frames_out"] == len(VARIABLE_MS)
    assert (report["width"], report["height"]) == (64, 48)
    assert report["audio"] == ["copied"]
    assert report["cropped"] == {"left_px": 8, "top_px": 0, "right_px": 8, "bottom_px": 0}
    assert not list(tmp_path.glob("*.part"))


def test_a_playlist_gets_the_result_with_its_sound_and_a_server_that_is_gone_a_sentence(edit, clip, tmp_path):
    report = edit(clip, tmp_path / "live.m3u8").report
    assert report["frames_out"] == 13
    assert report["audio"] == ["copied"]
    times, frames = read_clip(tmp_path / "live.m3u8")
    assert np.diff(times) == pytest.approx(np.full(12, 40), abs=1)
    assert edit(clip, tmp_path / "out.mp4").code == 0
    assert np.abs(frames.astype(int) - read_clip(tmp_path / "out.mp4")[1]).mean() < 8
    refused = edit(clip, "rtmp://127.0.0.1:1/live/key")
    assert "cannot write rtmp://127.0.0.1:1/live/key" in refused.sentence


def test_a_prompt_changes_at_the_first_chunk_that_begins_at_its_time(edit, clip, tmp_path):
    plain, switched = tmp_path / "plain.mkv", tmp_path / "switched.mkv"
    edit(clip, plain, "--codec", "ffv1")
    # frames 0, 1-4, 5-8 and 9-12 are chunks; frame 7 stands at 280 ms
    outcome = edit(clip, switched, "--codec", "ffv1", "--at", "280ms", "a pencil sketch")
    assert outcome.report["prompts"] == [
        {"at_s": 0.0, "words": "make it snow", "from_frame": 0},
        {"at_s": 0.28, "words": "a pencil sketch", "from_frame": 9},
    ]
    before, after = read_clip(plain)[1], read_clip(switched)[1]
    assert np.array_equal(before[:9], after[:9])
    assert not np.array_equal(before[9:], after[9:])


def test_a_prompt_that_is_never_reached_is_mentioned(edit, clip, tmp_path):
    outcome = edit(clip, tmp_path / "out.mp4", "--at", "9", "x", "--at", "0", "turn it red")
    assert outcome.code == 0
    assert "at 9 s was never reached" in outcome.err
    assert [prompt["words"] for prompt in outcome.report["prompts"]] == ["turn it red"]


def test_seed_steps_and_commit_change_the_result_and_equal_words_repeat_it(edit, clip, tmp_path):
    def run(*words: object) -> np.ndarray:
        assert edit(clip, tmp_path / "out.mkv", "--codec", "ffv1", *words).code == 0
        return read_clip(tmp_path / "out.mkv")[1]

    plain = run()
    assert np.array_equal(plain, run("--steps", 4, "--commit", "clean_pass", "--seed", 0))
    for other in (("--seed", 1), ("--steps", 2), ("--commit", "last_step")):
        assert not np.array_equal(plain, run(*other))


def test_a_rate_resamples_by_timestamp(edit, clip, tmp_path):
    report = edit(clip, tmp_path / "out.mp4", "--fps", "12.5").report
    assert report["frames_in"] == 13
    times, _ = read_clip(tmp_path / "out.mp4")
    assert report["frames_out"] == len(times)
    assert times == pytest.approx([80 * i for i in range(len(times))], abs=1)


def test_start_and_duration_cut_the_source(edit, clip, tmp_path):
    report = edit(clip, tmp_path / "out.mp4", "--start", "200ms", "--duration", "0.2").report
    assert report["frames_in"] == report["frames_out"] == 5
    assert read_clip(tmp_path / "out.mp4")[0] == pytest.approx([0, 40, 80, 120, 160], abs=1)


def test_a_size_that_the_model_cannot_edit_is_moved_and_reported(edit, clip, tmp_path):
    outcome = edit(clip, tmp_path / "out.mp4", "--size", "50x30")
    assert outcome.code == 0
    assert "50x30 is not divisible by 16; the result is 48x32" in outcome.err
    assert (outcome.report["width"], outcome.report["height"]) == (48, 32)
    assert read_clip(tmp_path / "out.mp4")[1].shape[1:] == (32, 48, 3)


def test_compare_and_contact_sheet_show_source_and_result(edit, clip, tmp_path):
    words = ("--size", "80x48", "--compare", "--contact-sheet", tmp_path / "sheet.png", "--codec", "ffv1")
    report = edit(clip, tmp_path / "out.mkv", *words).report
    assert report["compare"] == str(tmp_path / "out_compare.mkv")
    _, both = read_clip(tmp_path / "out_compare.mkv")
    assert both.shape == (13, CLIP_HEIGHT, 2 * CLIP_WIDTH, 3)
    assert np.abs(both[5, :, :CLIP_WIDTH].astype(int) - picture(5)).mean() < 6
    assert np.array_equal(both[:, :, CLIP_WIDTH:], read_clip(tmp_path / "out.mkv")[1])
    assert report["contact_sheet"] == str(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 6 * 200


def test_a_folder_of_images_becomes_a_folder_of_images_or_a_video_at_a_rate(edit, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(picture(index)).save(folder / f"{index}.png")
    assert edit(folder, f"{tmp_path / 'out'}/").report["frames_out"] == 6
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    assert edit(folder, tmp_path / "out.mp4", "--fps", "10").report["frames_out"] == 6
    assert read_clip(tmp_path / "out.mp4")[0] == pytest.approx([100 * i for i in range(6)], abs=1)


def test_figures_go_to_people_unless_they_are_unwanted(run, toy_folder, clip, tmp_path):
    words = ("edit", clip, "-p", "snow", "-o", tmp_path / "out.mp4", "--model", toy_folder, "--threads", 1)
    shown = run(*words)
    for title in ("resolution", "64x48 from 80x48", "frames per second", "first frame", "p99", "peak memory"):
        assert title in shown.out
    assert run(*words, "--quiet").out == ""
    with_json = run(*words, "--json")
    assert "resolution" in with_json.err
    assert len(with_json.out.splitlines()) == 1


def test_a_truncated_input_is_edited_as_far_as_possible(edit, tmp_path):
    source = write_clip(tmp_path / "whole.mkv", [40 * i for i in range(60)])
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    outcome = edit(cut, tmp_path / "out.mp4")
    assert outcome.code == 3
    report = outcome.report
    assert report["was_truncated"]
    assert 10 < report["frames_in"] == report["frames_out"] < 60
    assert f"{report['frames_in']} frames that could be decoded were edited" in outcome.err
    assert len(read_clip(tmp_path / "out.mp4")[0]) == report["frames_out"]


def test_an_interruption_finishes_the_result_and_says_130(edit, clip, tmp_path, monkeypatch):
    original = EditOutputs.write

    def write(self, source, edited) -> None:
        original(self, source, edited)
        if source.time_s == Fraction(240, 1000):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EditOutputs, "write", write)
    outcome = edit(clip, tmp_path / "out.mp4")
    assert outcome.code == 130
    assert outcome.report["was_interrupted"]
    assert "interrupted" in outcome.err
    times, _ = read_clip(tmp_path / "out.mp4")
    # the signal came while frames 5 to 8 were handed out: they are all there, and nothing after them
    assert len(times) == outcome.report["frames_out"] == outcome.report["frames_in"] == 9


def test_a_second_interruption_ends_at_once_with_a_playable_result(edit, clip, tmp_path, monkeypatch):
    original = EditOutputs.write

    def write(self, source, edited) -> None:
        original(self, source, edited)
        if source.time_s > 0.25:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EditOutputs, "write", write)
    assert edit(clip, tmp_path / "out.mp4").code == 130
    assert len(read_clip(tmp_path / "out.mp4")[0]) == 9


BAD_WORDS = [
    ("{folder}/no.mp4 {out}", "no file at"),
    ("{folder}/empty {out}", "holds no images"),
    ("{folder}/text.mp4 {out}", "not a video"),
    ("{folder}/nothing.mp4 {out}", "nothing.mp4"),
    ("{folder}/sound.mp4 {out}", "no pictures"),
    ("camera:77 {out}", "camera:77"),
    ("gopher://somewhere {out}", "gopher"),
    ("{clip} {folder}/out.xyz", "unknown ending .xyz"),
    ("{clip} {out} --codec h263", "unknown codec 'h263'"),
    ("{clip} {folder}/out.webm --codec h264", "cannot hold h264"),
    ("{clip} {folder}/none/out.mp4", "there is no folder"),
    ("{clip} {clip}", "is the input"),
    ("{clip} {out} --start=-1s", "start of -1s, expected 0 or more"),
    ("{clip} {out} --start 9", "is only 0.52 s long"),
    ("{clip} {out} --duration 0", "duration of 0 s"),
    ("{clip} {out} --at soon x", "cannot read the --at time 'soon'"),
    ("{clip} {out} --at 0.1 ''", "the prompt is empty"),
    ("{clip} {out} --size 640", "cannot read the size '640'"),
    ("{clip} {out} --size 0x20", "cannot read the size '0x20'"),
    ("{clip} {out} --fps 0", "cannot read the frame rate '0'"),
    ("{clip} {out} --steps 9", "got 9 denoising steps, expected 1 to 8"),
    ("{clip} {out} --model huge", "unknown model 'huge'"),
    ("{clip} {out} --model sana-streaming", "vivace pull sana-streaming"),
    ("{clip} {out} --device tpu", "expected auto, cpu"),
    ("{clip} {out} --threads 0", "got 0 threads"),
    ("{clip} {out} --contact-sheet {folder}/a.jpg", "ending in .png"),
    ("{clip} {out} --contact-sheet {folder}/none/a.png", "there is no folder"),
    ("{clip} rtmp://127.0.0.1:1/x --compare", "--compare cannot write"),
]


@pytest.fixture
def corner(tmp_path: Path) -> Path:
    """A folder with inputs that nobody can edit."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is not a video " * 50)
    (tmp_path / "nothing.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as song:
        stream = song.add_stream("aac", rate=16_000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16_000
        song.mux([*stream.encode(tone), *stream.encode(None)])
    return tmp_path


@pytest.mark.parametrize(("words", "sentence"), BAD_WORDS, ids=[words for words, _ in BAD_WORDS])
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(edit, clip, corner, words, sentence):
    before = {path: path.read_bytes() for path in corner.rglob("*") if path.is_file()}
    untouched = clip.read_bytes()
    filled = words.format(folder=corner, out=corner / "out.mp4", clip=clip)
    assert sentence in edit(*shlex.split(filled)).sentence
    assert {path: path.read_bytes() for path in corner.rglob("*") if path.is_file()} == before
    assert clip.read_bytes() == untouched


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 101, "?!"])
def test_a_bad_prompt_is_one_sentence(edit, clip, tmp_path, prompt):
    assert "prompt" in edit(clip, tmp_path / "out.mp4", prompt=prompt).sentence
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_no_file_under_the_final_name(edit, clip, tmp_path, monkeypatch):
    original = EditOutputs.write

    def write(self, source, edited) -> None:
        original(self, source, edited)
        if source.time_s > 0.25:
            raise InputError("the disk is full")

    monkeypatch.setattr(EditOutputs, "write", write)
    earlier = tmp_path / "out.mp4"
    earlier.write_bytes(b"an earlier result")
    assert edit(clip, earlier, "--compare").sentence == "vivace: the disk is full"
    assert earlier.read_bytes() == b"an earlier result"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.slow
def test_memory_stays_constant_over_an_hour_of_frames(edit, tmp_path, monkeypatch):
    num_frames = 30_000
    source = write_clip(tmp_path / "long.mp4", [120 * i for i in range(num_frames)])
    original = EditOutputs.write
    rss_mib: list[float] = []

    def write(self, source, edited) -> None:
        original(self, source, edited)
        if round(source.time_s / Fraction(120, 1000)) % 1000 == 0:
            rss_mib.append(psutil.Process().memory_info().rss / 2**20)

    monkeypatch.setattr(EditOutputs, "write", write)
    words = ("--steps", 1, "--commit", "last_step", "--contact-sheet", tmp_path / "sheet.png")
    report = edit(source, tmp_path / "out.mp4", *words).report
    assert report["frames_out"] == num_frames
    assert len(rss_mib) == num_frames // 1000
    # the first thousand frames fill caches and allocators
    assert max(rss_mib[1:]) - rss_mib[1] < 24, rss_mib
    print(f"{num_frames} frames: {rss_mib[1]:.0f} MiB after 1000, {max(rss_mib):.0f} MiB at most")
