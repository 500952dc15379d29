"""`vivace edit`: reads a video, edits every frame, writes the results and says how it went."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter

from rich.console import Console

from vivace.bench.machine import peak_rss_mib
from vivace.catalog.editor import Editor, LiveStream, open_editor
from vivace.cli.arguments import EditArguments
from vivace.cli.edit_job import EditJob
from vivace.cli.edit_outputs import EditOutputs, check_outputs
from vivace.cli.edit_report import CropReport, EditReport, chunk_percentiles, print_table, to_json_line
from vivace.cli.frame_pump import FramePump
from vivace.cli.progress import EditProgress
from vivace.core.exit_code import INTERRUPTED, OK, TRUNCATED
from vivace.core.stop_signals import StopSignals
from vivace.data.fit import centre_crop, divisible_size
from vivace.data.frame_timing import TimedFrame, resample_fps
from vivace.data.source_spec import parse_source
from vivace.data.video_info import VideoInfo
from vivace.data.video_source import VideoSource, open_source

DEFAULT_IMAGE_FPS = Fraction(24)


def run_edit(arguments: EditArguments) -> int:
    """Run the command and return the exit code."""
    report = edit_video(EditJob.parse(arguments), is_quiet=arguments.quiet)
    return show_report(report, is_json=arguments.json, is_quiet=arguments.quiet)


def show_report(report: EditReport, *, is_json: bool, is_quiet: bool) -> int:
    """Print a report and return the exit code that belongs to it."""
    if not is_quiet:
        print_table(report, Console(stderr=is_json))
    if report.was_interrupted:
        _note(f"interrupted; {report.output} holds what was edited until then")
    elif report.was_truncated:
        _note(
            f"{report.input} is damaged ({report.truncation_reason}); the {report.frames_in} frames that "
            "could be decoded were edited"
        )
    if is_json:
        print(to_json_line(report))
    if report.was_interrupted:
        return INTERRUPTED
    return TRUNCATED if report.was_truncated else OK


def edit_video(job: EditJob, *, is_quiet: bool) -> EditReport:
    """Edit a video from end to end.

    Raises:
        InputError: If the input, an output or an option cannot be used; no output has then its final name.
    """
    check_outputs(job)
    is_images = parse_source(job.input).kind == "images"
    fps = None if is_images else job.fps
    opening = perf_counter()
    with open_source(
        job.input,
        start_s=job.start_s,
        duration_s=job.duration_s,
        image_fps=job.fps or DEFAULT_IMAGE_FPS,
        has_audio=True,
    ) as source:
        loading = perf_counter()
        editor = open_editor(
            job.run.model,
            device=job.run.device,
            dtype=job.run.precision,
            num_threads=job.run.threads,
            vae_frames=job.run.vae_frames,
        )
        started = perf_counter()
        size = _choose_size(job, source.info, editor)
        prompts = [(timed, editor.encode_prompt(timed.words)) for timed in job.prompts]
        stream = editor.open(
            prompts[0][1],
            size=size,
            seed=job.seed,
            num_denoising_steps=job.num_denoising_steps,
            commit=job.commit,
            # who asks for few frames a VAE call asks for little memory: then one work at a time
            overlaps=job.run.vae_frames is None,
        )
        reader = _Reader(source, fps)
        with EditOutputs(job, source, size, fps) as outputs:
            pump = FramePump(stream, prompts, outputs.write)
            num_expected = _expected_frames(job, source.info, fps)
            was_interrupted = _pump_all(reader, pump, num_expected, is_quiet=is_quiet)
        ended = perf_counter()
        outputs.write_sheet([prompt.words for prompt in pump.followed])
        if not was_interrupted:
            _note_unused_prompts(pump)
        open_s = loading - opening
        timing = _Timing(
            load_s=started - loading,
            first_frame_s=open_s + (pump.first_frame_at or ended) - started,
            total_s=open_s + ended - started,
        )
        figures = _Figures(reader.num_read, pump, timing, was_interrupted, outputs.audio_actions)
        return _report(job, source, editor, stream, figures)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Timing:
    """Seconds of a run; opening the source counts, loading the model stands alone."""

    load_s: float
    first_frame_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class _Figures:
    num_read: int
    pump: FramePump
    timing: _Timing
    was_interrupted: bool
    audio: tuple[str, ...]


class _Reader:
    """The frames to edit, resampled if wanted; counts what the source gave."""

    def __init__(self, source: VideoSource, fps: Fraction | None) -> None:
        self._source = source
        self._fps = fps
        self.num_read = 0

    def __iter__(self) -> Iterator[TimedFrame]:
        counted = self._counted(self._source)
        return counted if self._fps is None else resample_fps(counted, self._fps)

    def _counted(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        for frame in frames:
            self.num_read += 1
            yield frame


def _pump_all(reader: _Reader, pump: FramePump, num_expected: int | None, *, is_quiet: bool) -> bool:
    """Edit all frames; true if Ctrl-C ended it before the source did."""
    with StopSignals() as signals, EditProgress(num_expected, is_quiet=is_quiet) as progress:
        for frame in reader:
            num_before = pump.num_edited
            pump.push(frame)
            progress.advance(pump.num_edited - num_before)
            if signals.received is not None:
                break
        pump.finish()
        return signals.received is not None


def _choose_size(job: EditJob, info: VideoInfo, editor: Editor) -> tuple[int, int]:
    if job.size is None:
        return editor.fit(info.width_px, info.height_px)
    multiple = editor.size_multiple
    width, height = divisible_size(*job.size, multiple)
    if (width, height) != job.size:
        wanted = f"{job.size[0]}x{job.size[1]}"
        _note(f"{wanted} is not divisible by {multiple}; the result is {width}x{height}, resized and cropped")
    return width, height


def _expected_frames(job: EditJob, info: VideoInfo, fps: Fraction | None) -> int | None:
    """About how many frames there will be, for the progress bar; None if nobody knows."""
    seconds = info.duration_s
    if seconds is None and info.num_frames is not None:
        seconds = info.num_frames / info.fps
    if seconds is not None:
        seconds = max(Fraction(0), seconds - job.start_s)
    if job.duration_s is not None:
        seconds = job.duration_s if seconds is None else min(seconds, job.duration_s)
    return None if seconds is None else max(1, round(seconds * (fps or info.fps)))


def _report(
    job: EditJob, source: VideoSource, editor: Editor, stream: LiveStream, figures: _Figures
) -> EditReport:
    info, pump, timing = source.info, figures.pump, figures.timing
    width, height = stream.size or (0, 0)
    crop = centre_crop(info.width_px, info.height_px, width, height)
    median_ms, high_ms = chunk_percentiles(pump.chunk_ms)
    return EditReport(
        model=job.run.model,
        device=str(editor.pipeline.device),
        precision=editor.pipeline.precision,
        input=job.input,
        output=job.output,
        compare=job.compare,
        contact_sheet=None if job.contact_sheet is None else str(job.contact_sheet),
        source_width=info.width_px,
        source_height=info.height_px,
        width=width,
        height=height,
        cropped=CropReport(
            left_px=crop.left_px, top_px=crop.top_px, right_px=crop.right_px, bottom_px=crop.bottom_px
        ),
        steps=stream.num_denoising_steps,
        commit=stream.commit,
        seed=job.seed,
        frames_in=figures.num_read,
        frames_out=pump.num_edited,
        load_s=timing.load_s,
        ttff_s=timing.first_frame_s,
        fps_end_to_end=pump.num_edited / timing.total_s,
        chunk_ms_p50=median_ms,
        chunk_ms_p99=high_ms,
        peak_rss_mib=peak_rss_mib(),
        was_truncated=source.was_truncated,
        truncation_reason=source.truncation_reason,
        was_interrupted=figures.was_interrupted,
        audio=figures.audio,
        prompts=tuple(pump.followed),
    )


def _note_unused_prompts(pump: FramePump) -> None:
    for prompt in pump.never_reached:
        _note(f"the instruction at {float(prompt.at_s):g} s was never reached: the result is shorter")


def _note(sentence: str) -> None:
    print(f"vivace: {sentence}", file=sys.stderr)
