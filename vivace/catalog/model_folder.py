"""Where the parts of an editor lie on disk and how large they are; builds no networks."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open

from vivace.core.config import read_config
from vivace.core.errors import ConfigError, WeightsError
from vivace.core.falling_noise import WEATHER, FallingNoise
from vivace.core.grid import ChunkPlan
from vivace.data.fit import fit_size
from vivace.pipelines.stream import CommitMode

DIT_PREFIX = "dit"
DIT_SPEC_NAME = "dit.json"
LTX2_VAE_PREFIX = "ltx2_vae"
LTX2_VAE_SPEC_NAME = "ltx2_vae.json"
DEFAULTS_NAME = "editor.json"

# by how much the aspect of a source may differ from the native one before the native size is left
NEAR_ASPECT = 0.03

BUNDLED = Path(__file__).parent / "weights"


@dataclass(frozen=True, kw_only=True, slots=True)
class EditorDefaults:
    """How a model is meant to be used; sizes, chunks and noise are those of `tiny-edit`.

    Attributes:
        native_width_px: With the height, the area at which the model was trained.
        native_height_px: Height likewise.
        num_denoising_steps: Model calls a chunk, a commit of its own not counted.
        least_denoising_steps: The fewest that still give its edits, for live sessions on machines that are
            slower than the stream; None where only `num_denoising_steps` do.
        commit: `clean_pass` writes the memories by one more call, `last_step` with the last step.
        frames_per_chunk: Latent frames a chunk.
        first_chunk_frames: Latent frames of a stream's first chunk.
        falling_noise: Groups of noise channels that fall, as in training.
        has_still_noise: Whether the other noise channels stay the same along a stream, so that what an edit
            owes to them does not flicker.
        is_live: Whether the model edits streams; False means that it sees whole clips at once.
    """

    native_width_px: int = 320
    native_height_px: int = 192
    num_denoising_steps: int = 4
    least_denoising_steps: int | None = None
    commit: CommitMode = "clean_pass"
    frames_per_chunk: int = 1
    first_chunk_frames: int = 1
    falling_noise: tuple[FallingNoise, ...] = WEATHER
    has_still_noise: bool = True
    is_live: bool = True

    def __post_init__(self) -> None:
        sizes = self.native_width_px, self.native_height_px
        frames = self.frames_per_chunk, self.first_chunk_frames
        least = self.num_denoising_steps if self.least_denoising_steps is None else self.least_denoising_steps
        if min(*sizes, *frames, self.num_denoising_steps, least) < 1:
            raise ConfigError("EditorDefaults: sizes, steps and frames must be at least 1")

    @property
    def plan(self) -> ChunkPlan:
        """Where the chunks of a stream begin and end."""
        return ChunkPlan.live(self.frames_per_chunk, first_chunk_frames=self.first_chunk_frames)

    @property
    def native_area_px(self) -> int:
        """Pixels of a raw frame at the native size."""
        return self.native_width_px * self.native_height_px

    def fit(self, width: int, height: int, multiple: int) -> tuple[int, int]:
        """Width and height at which a source of this size is edited: the native area, the source's aspect.

        A source of nearly the native aspect is cropped to the native size, which the model was trained at:
        16:9 to 1280x704 with SANA-Streaming. `multiple` divides the sides.
        """
        native = self.native_width_px, self.native_height_px
        is_near = abs(width * native[1] / (height * native[0]) - 1) < NEAR_ASPECT
        if is_near and not any(side % multiple for side in native):
            return native
        return fit_size(width, height, self.native_area_px, multiple)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """The three folders of an editor: diffusion transformer, video VAE and prompt encoder."""

    dit: Path
    video_vae: Path
    prompt_encoder: Path
    defaults: EditorDefaults = EditorDefaults()

    @classmethod
    def bundled(cls, name: str) -> Self:
        """The parts of a model that ships with the package; VAE and prompt encoder are shared by all."""
        return cls(
            dit=BUNDLED / name,
            video_vae=BUNDLED / "video_vae",
            prompt_encoder=BUNDLED / "prompt_encoder",
            # its student is trained for 4 steps and for 2, and for either commit
            # (vivace/recipes/tiny_edit_student.py)
            defaults=EditorDefaults(least_denoising_steps=2, commit="last_step"),
        )

    @classmethod
    def at(cls, folder: Path) -> Self:
        """A user's own model: `folder` holds `dit`, `video_vae` and `prompt_encoder`.

        An `editor.json` beside them (an `EditorDefaults`) is used where it exists.

        Raises:
            WeightsError: If a part is missing.
            ConfigError: If `editor.json` does not fit.
        """
        for part in ("dit", "video_vae", "prompt_encoder"):
            if not (folder / part).is_dir():
                raise WeightsError(
                    f"the model folder {folder} has no folder {part!r}; expected dit, video_vae and "
                    "prompt_encoder"
                )
        defaults = EditorDefaults()
        if (folder / DEFAULTS_NAME).is_file():
            defaults = read_config(EditorDefaults, folder / DEFAULTS_NAME)
        return cls(
            dit=folder / "dit",
            video_vae=folder / "video_vae",
            prompt_encoder=folder / "prompt_encoder",
            defaults=defaults,
        )

    def num_bytes(self) -> int:
        """Bytes of all files."""
        folders = (self.dit, self.video_vae, self.prompt_encoder)
        return sum(path.stat().st_size for folder in folders for path in folder.glob("*") if path.is_file())

    def num_parameters(self) -> int:
        """Numbers stored in all weight files, from their headers.

        Raises:
            WeightsError: If a file is damaged.
        """
        return sum(
            _num_values(path)
            for folder in (self.dit, self.video_vae, self.prompt_encoder)
            for path in sorted(folder.glob("*.safetensors"))
        )


def _num_values(path: Path) -> int:
    try:
        with safe_open(path, framework="pt") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({error}); copy or write it again") from None
