"""`vivace demo`: the bundled clip edited, side by side and as a contact sheet, with figures."""

from fractions import Fraction
from pathlib import Path

from vivace.cli.arguments import DemoArguments
from vivace.cli.edit_job import EditJob, TimedPrompt, compare_name
from vivace.cli.edit_video import edit_video, show_report
from vivace.core.errors import InputError

# The bundled clip lasts 4.8 s: each instruction has a third of it.
SHOW = (
    TimedPrompt.at_start("make it a snowy night"),
    TimedPrompt(at_s=Fraction("1.6"), words="turn it into a pencil sketch"),
    TimedPrompt(at_s=Fraction("3.2"), words="glowing neon outlines"),
)
CLIPS = Path("examples") / "media"
# Where the package runs from; the root of a clone unless it was installed.
CLONE = Path(__file__).parents[2]


def run_demo(arguments: DemoArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If there is no clip, or it or the folder cannot be used.
    """
    clip = arguments.clip or bundled_clip()
    folder = arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the folder {folder} ({error.strerror}); choose another") from None
    result = str(folder / f"{clip.stem}.mp4")
    job = EditJob(
        input=str(clip),
        output=result,
        prompts=SHOW if arguments.prompt is None else (TimedPrompt.at_start(arguments.prompt),),
        compare=compare_name(result),
        contact_sheet=folder / f"{clip.stem}.png",
        run=arguments.run,
    )
    report = edit_video(job, is_quiet=arguments.quiet)
    return show_report(report, is_json=arguments.json, is_quiet=arguments.quiet)


def bundled_clip() -> Path:
    """The clip of a clone: below the present folder, or beside the package that runs from a clone.

    Raises:
        InputError: If there is none.
    """
    for root in (Path(), CLONE):
        clips = sorted((root / CLIPS).glob("*.mp4"))
        if clips:
            return clips[0]
    raise InputError(
        "the demo clip is part of the source code, not of the installed package; run this in a clone, or "
        "give a video: vivace demo CLIP"
    )
