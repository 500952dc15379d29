"""Clips to measure on, cut to size and length, and their ways through a VAE; owns no scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data.clips import ClipStore
from vivace.data.fit import resize_and_crop
from vivace.models.video_vae import GROUP
from vivace.pipelines.parts import StreamingVae


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """A clip in memory at its own size."""

    name: str
    frames: UInt8[Tensor, "r h w c"]

    def cut(self, num_frames: int, height: int, width: int) -> UInt8[Tensor, "r h2 w2 c"]:
        """At most `num_frames` raw frames, 1 + 4 k of them, at this size."""
        kept = 1 + (min(num_frames, self.frames.shape[0]) - 1) // GROUP * GROUP
        return resize_and_crop(self.frames[:kept], height, width)


def load_evaluation_clips(folder: Path, names: Sequence[str] = ()) -> tuple[EvaluationClip, ...]:
    """The clips of a folder, all or those of the given file names (with or without their ending).

    Raises:
        InputError: If there are none, or a name is not there.
    """
    store = ClipStore.load(folder)
    clips = {Path(e.name).stem: EvaluationClip(Path(e.name).stem, store.frames(e)) for e in store.entries}
    chosen = [Path(name).stem for name in names] or list(clips)
    missing = [name for name in chosen if name not in clips]
    if missing:
        raise InputError(f"there is no clip {missing[0]!r} in {folder}, expected some of: {', '.join(clips)}")
    return tuple(clips[name] for name in chosen)


def as_video(frames: UInt8[Tensor, "r h w c"]) -> Video:
    """Raw frames as a video of one stream in [0, 1]."""
    return rearrange(frames, "r h w c -> 1 c r h w").float() / 255


def ping_pong(index: int, num_frames: int) -> int:
    """Which frame of a clip comes at `index` when it plays forwards and backwards for ever."""
    if num_frames == 1:
        return 0
    place = index % (2 * (num_frames - 1))
    return min(place, 2 * (num_frames - 1) - place)


@torch.no_grad()
def reconstruct(vae: StreamingVae, video: Video) -> Video:
    """A clip in [0, 1] streamed through the VAE one latent frame at a time; fp32 on the clip's device."""
    weight = next(vae.parameters())
    scaled = (video * 2 - 1).to(weight.device, weight.dtype)
    encoder_state = decoder_state = None
    decoded = []
    for push in [scaled[:, :, :1], *scaled[:, :, 1:].split(GROUP, dim=2)]:
        latent, encoder_state = vae.encode(push, encoder_state)
        out, decoder_state = vae.decode(latent, decoder_state)
        decoded.append(out)
    return torch.cat(decoded, dim=2).to(video.device).float() / 2 + 0.5
