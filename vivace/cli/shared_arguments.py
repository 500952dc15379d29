"""Options that several commands take, as types; imports no torch, so that help is instant."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

Flag = FlagCreatePairsOff[bool]
Json = Annotated[
    Flag, arg(help="print the result as JSON on the last line of the output", help_behavior_hint="")
]
Quiet = Annotated[Flag, arg(help="no progress bar and no table", help_behavior_hint="")]
Commit = Annotated[
    Literal["clean_pass", "last_step"] | None,
    arg(
        metavar="{clean_pass,last_step}",
        help="how a chunk enters the memory: by one more pass, or with the last step (faster)",
        help_behavior_hint="(default: the model's own)",
    ),
]
Steps = Annotated[
    int | None,
    arg(
        metavar="N",
        help="denoising steps, 1 to 8",
        help_behavior_hint="(default: the model's own, usually 4)",
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Which model runs, and where."""

    model: Annotated[str, arg(metavar="NAME", help="a name from `vivace models`, or a model folder")] = (
        "tiny-edit"
    )
    device: Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or cuda:1")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp8"],
        arg(help="auto is bf16 where the hardware computes in it; fp8 needs an Ada GPU or newer"),
    ] = "auto"
    vae_frames: Annotated[
        int | None,
        arg(
            metavar="N",
            help="latent frames a VAE call: 1 needs the least GPU memory, and some more time",
            help_behavior_hint="(default: all of a chunk)",
        ),
    ] = None
    threads: Annotated[
        int | None,
        arg(
            metavar="N",
            help="CPU threads",
            help_behavior_hint="(default: VIVACE_NUM_THREADS, else all cores, live one less)",
        ),
    ] = None
