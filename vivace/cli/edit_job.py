"""One edit as a checked value: what to read, what to do when, what to write; opens nothing."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

from vivace.cli.arguments import EditArguments, RunOptions
from vivace.cli.quantities import parse_rate, parse_size, parse_time
from vivace.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedPrompt:
    """An instruction and the second of the result from which it counts."""

    at_s: Fraction
    words: str

    @classmethod
    def at_start(cls, words: str) -> Self:
        """An instruction from the first frame on."""
        return cls(at_s=Fraction(0), words=words)


@dataclass(frozen=True, kw_only=True, slots=True)
class EditJob:
    """What `vivace edit` was asked to do; None leaves a choice to the model or to the source.

    `prompts` are in the order of their times, the first one at 0. `codec` and `quality` are those of
    `SinkOptions`; the other fields are the options of the same name.
    """

    input: str
    output: str
    prompts: tuple[TimedPrompt, ...]
    size: tuple[int, int] | None = None
    fps: Fraction | None = None
    start_s: Fraction = Fraction(0)
    duration_s: Fraction | None = None
    num_denoising_steps: int | None = None
    commit: Literal["clean_pass", "last_step"] | None = None
    seed: int = 0
    compare: str | None = None
    contact_sheet: Path | None = None
    codec: str | None = None
    quality: int | None = None
    run: RunOptions = field(default_factory=RunOptions)

    @classmethod
    def parse(cls, arguments: EditArguments) -> Self:
        """Read the words of a command line.

        Raises:
            InputError: If a time, size or rate cannot be read or is out of range.
        """
        prompts = [TimedPrompt.at_start(arguments.prompt)]
        prompts += [TimedPrompt(at_s=parse_time(at, "--at time"), words=words) for at, words in arguments.at]
        duration_s = None if arguments.duration is None else parse_time(arguments.duration, "duration")
        return cls(
            input=arguments.input,
            output=arguments.output,
            prompts=tuple(sorted(prompts, key=lambda prompt: prompt.at_s)),
            size=None if arguments.size is None else parse_size(arguments.size),
            fps=None if arguments.fps is None else parse_rate(arguments.fps),
            start_s=parse_time(arguments.start, "start"),
            duration_s=duration_s,
            num_denoising_steps=arguments.steps,
            commit=arguments.commit,
            seed=arguments.seed,
            compare=compare_name(arguments.output) if arguments.compare else None,
            contact_sheet=arguments.contact_sheet,
            codec=arguments.codec,
            quality=arguments.quality,
            run=arguments.run,
        )


def compare_name(output: str) -> str:
    """Where the side-by-side video of a result goes: `out.mp4` gives `out_compare.mp4`.

    Raises:
        InputError: If the result goes to a network address.
    """
    if "://" in output:
        raise InputError(
            f"--compare cannot write beside the address {output}; write to a file, or leave it out"
        )
    if output.endswith(("/", "\\")):
        return f"{output[:-1]}_compare{output[-1]}"
    path = Path(output)
    number = re.search(r"%0?\d*d", path.name)
    if number:
        return str(path.with_name(f"{path.name[: number.start()]}compare_{path.name[number.start() :]}"))
    return str(path.with_name(f"{path.stem}_compare{path.suffix}"))
