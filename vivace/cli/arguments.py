"""What every command takes, as typed dataclasses; imports no torch, so that help is instant."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from vivace.cli.live_arguments import LiveBenchArguments, ServeArguments
from vivace.cli.shared_arguments import Commit, Flag, Json, Quiet, RunOptions, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class EditArguments:
    """Arguments of `vivace edit`."""

    input: Annotated[
        Positional[str],
        arg(
            metavar="INPUT",
            help="a video file, a folder of images, a camera (camera:0) or a network address; "
            "rtmp://HOST:PORT/APP/KEY?listen waits for a sender",
        ),
    ]
    prompt: Annotated[
        str, arg(aliases=["-p"], metavar="PROMPT", help="what to do with the video, in English")
    ]
    output: Annotated[
        str,
        arg(
            aliases=["-o"],
            metavar="OUT",
            help=(
                "NAME.mp4 (mov, m4v, mkv, webm, avi, gif), NAME.m3u8 (HLS), NAME_%05d.png, FOLDER/ "
                "or an rtmp:// address"
            ),
        ),
    ]
    at: Annotated[
        UseAppendAction[tuple[tuple[str, str], ...]],
        arg(
            metavar="TIME PROMPT",
            help="change the instruction from the first chunk that begins at or after TIME of the result",
        ),
    ] = ()
    size: Annotated[
        str | None,
        arg(
            metavar="WxH",
            help="size of the result, moved to the nearest one that the model can edit",
            help_behavior_hint="(default: the source's aspect at the model's native area)",
        ),
    ] = None
    fps: Annotated[
        str | None,
        arg(
            metavar="FPS",
            help="resample by timestamp to this rate; for a folder of images, the rate they are shown at",
            help_behavior_hint="(default: every source frame at its own time)",
        ),
    ] = None
    start: Annotated[
        str, arg(metavar="TIME", help="where in the source to begin: 4, 4s, 250ms or 1:05.5")
    ] = "0"
    duration: Annotated[
        str | None, arg(metavar="TIME", help="how much to edit", help_behavior_hint="(default: all)")
    ] = None
    steps: Steps = None
    commit: Commit = None
    seed: Annotated[int, arg(metavar="N", help="another number gives another version of the edit")] = 0
    compare: Annotated[
        Flag,
        arg(
            help="also write NAME_compare: source and result side by side, without sound",
            help_behavior_hint="",
        ),
    ] = False
    contact_sheet: Annotated[
        Path | None,
        arg(
            metavar="PNG",
            help="also write a picture of frames before and after",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    codec: Annotated[
        str | None,
        arg(
            metavar="CODEC",
            help="h264, hevc, vp9, prores, mpeg4, mjpeg or ffv1",
            help_behavior_hint="(default: what suits the ending of OUT)",
        ),
    ] = None
    quality: Annotated[
        int | None,
        arg(
            metavar="N",
            help="on the codec's own scale, lower is better",
            help_behavior_hint="(default: the codec's, for h264 18)",
        ),
    ] = None
    json: Json = False
    quiet: Quiet = False
    run: Annotated[RunOptions, OmitArgPrefixes] = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoArguments:
    """Arguments of `vivace demo`."""

    clip: Annotated[
        Positional[Path | None],
        arg(
            metavar="CLIP",
            help="a video",
            help_behavior_hint="(default: the clip in examples/media of a clone)",
        ),
    ] = None
    output: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER", help="where the results go")] = Path(
        "out/demo"
    )
    prompt: Annotated[
        str | None,
        arg(
            aliases=["-p"],
            metavar="PROMPT",
            help="what to do with the video",
            help_behavior_hint=(
                "(default: a snowy night, a pencil sketch, neon outlines, one after the other)"
            ),
        ),
    ] = None
    json: Json = False
    quiet: Quiet = False
    run: Annotated[RunOptions, OmitArgPrefixes] = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsArguments:
    """Arguments of `vivace models`."""

    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InfoArguments:
    """Arguments of `vivace info`."""

    file: Annotated[
        Positional[str], arg(metavar="FILE", help="a video file, a folder of images, a camera or an address")
    ]
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PullArguments:
    """Arguments of `vivace pull`."""

    name: Annotated[Positional[str], arg(metavar="NAME", help="a name from `vivace models`")]
    json: Json = False
    quiet: Annotated[Flag, arg(help="no progress bar", help_behavior_hint="")] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchArguments:
    """Arguments of `vivace bench`."""

    model: Annotated[
        Positional[str], arg(metavar="NAME", help="a name from `vivace models`, or a model folder")
    ] = "tiny-edit"
    size: Annotated[
        str | None,
        arg(metavar="WxH", help="picture size", help_behavior_hint="(default: the model's native size)"),
    ] = None
    steps: Annotated[tuple[int, ...], arg(metavar="N ...", help="numbers of denoising steps to time")] = (4,)
    precisions: Annotated[
        tuple[Literal["auto", "fp32", "bf16", "fp8"], ...],
        arg(metavar="{auto,fp32,bf16,fp8} ...", help="precisions to time"),
    ] = ("auto",)
    graphs: Annotated[
        Literal["auto", "off", "dit", "all"],
        arg(help="what a GPU replays from CUDA graphs; all includes the VAE, auto is all for small models"),
    ] = "auto"
    parts: Annotated[
        tuple[Literal["dit", "memory", "end_to_end"], ...],
        arg(
            metavar="{dit,memory,end_to_end} ...",
            help="what to measure of sana-streaming: its transformer alone, where memory goes, "
            "frames in to frames out",
        ),
    ] = ("dit", "end_to_end")
    commit: Commit = None
    commits: Annotated[
        tuple[Literal["clean_pass", "last_step"], ...],
        arg(
            metavar="{clean_pass,last_step} ...", help="the same for sana-streaming, all that are to be timed"
        ),
    ] = ("clean_pass", "last_step")
    loops: Annotated[
        tuple[Literal["serial", "overlapped"], ...],
        arg(metavar="{serial,overlapped} ...", help="how sana-streaming runs, frames in to frames out"),
    ] = ("serial", "overlapped")
    vae_frames: Annotated[
        tuple[int, ...],
        arg(
            metavar="N ...",
            help="latent frames a VAE call of sana-streaming, rows for each; 0 is a chunk at once",
        ),
    ] = (0,)
    chunks: Annotated[int, arg(metavar="N", help="chunks to time")] = 40
    warmup: Annotated[int, arg(metavar="N", help="chunks before the first one that counts")] = 8
    random_weights: Annotated[
        Flag, arg(help="read the specs only; speed does not depend on the weights", help_behavior_hint="")
    ] = False
    device: Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or cuda:1")] = "auto"
    threads: Annotated[
        int | None,
        arg(
            metavar="N",
            help="CPU threads",
            help_behavior_hint="(default: VIVACE_NUM_THREADS, else all cores)",
        ),
    ] = None
    write: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="also write a dated result there, for example benchmarks/results",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalArguments:
    """Arguments of `vivace eval`."""

    model: Annotated[
        Positional[str], arg(metavar="NAME", help="a name from `vivace models`, or a model folder")
    ] = "tiny-edit"
    clips: Annotated[Path, arg(metavar="FOLDER", help="clips that the model was not trained on")]
    only: Annotated[
        tuple[str, ...],
        arg(metavar="CLIP ...", help="names of the clips to use", help_behavior_hint="(default: all)"),
    ] = ()
    lpips: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="weights of the perceptual distance",
            help_behavior_hint="(default: lpips_alex.safetensors in VIVACE_HOME)",
        ),
    ] = None
    parts: Annotated[
        tuple[Literal["reconstruction", "fidelity", "local", "still", "instructions", "drift"], ...],
        arg(
            metavar="{reconstruction,fidelity,local,still,instructions,drift} ...",
            help="which tables to make",
            help_behavior_hint="(default: all)",
        ),
    ] = ("reconstruction", "fidelity", "local", "still", "instructions", "drift")
    families: Annotated[
        tuple[str, ...],
        arg(
            metavar="FAMILY ...",
            help="edit families, like snow, snow+night, add_red_ball_left or undo_snow",
            help_behavior_hint="(default: all single ones, and some of each local kind)",
        ),
    ] = ()
    frames: Annotated[int, arg(metavar="N", help="most raw frames of a clip")] = 17
    size: Annotated[
        str | None, arg(metavar="WxH", help="picture size", help_behavior_hint="(default: 320x192)")
    ] = None
    scenes: Annotated[int, arg(metavar="N", help="scenes of each local family with drawn things")] = 1
    instruction_clips: Annotated[int, arg(metavar="N", help="clips that every phrasing edits")] = 1
    train_phrasings: Annotated[
        int, arg(metavar="N", help="phrasings of each family drawn from those of training")
    ] = 20
    drift_frames: Annotated[int, arg(metavar="N", help="length of the long stream")] = 1000
    steps: Steps = None
    commit: Commit = None
    seed: Annotated[int, arg(metavar="N", help="of noise, particles and the choice of phrasings")] = 0
    out: Annotated[
        Path | None,
        arg(
            aliases=["-o"],
            metavar="FOLDER",
            help="write report.json, report.md and sheet.png there",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    device: Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or cuda:1")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp8"],
        arg(help="auto is bf16 where the hardware computes in it; fp8 needs an Ada GPU or newer"),
    ] = "auto"
    threads: Annotated[
        int | None,
        arg(
            metavar="N",
            help="CPU threads",
            help_behavior_hint="(default: VIVACE_NUM_THREADS, else all cores)",
        ),
    ] = None
    json: Json = False
    quiet: Quiet = False


Arguments = (
    EditArguments
    | ServeArguments
    | DemoArguments
    | ModelsArguments
    | InfoArguments
    | PullArguments
    | BenchArguments
    | LiveBenchArguments
    | EvalArguments
)
