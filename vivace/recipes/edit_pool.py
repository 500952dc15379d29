"""Paired latents for the bundled editor: clips are drawn, edited and encoded on the training device.

Owns which pairs a train step sees and the noise that belongs to them; losses live in `training`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.core.falling_noise import WEATHER
from vivace.core.seeds import mix_seed
from vivace.core.shapes import Video
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import FAMILIES, IDENTITY, PAIRS, EditFamily, FamilyPair, make_pair
from vivace.data.local_families import LOCAL_GROUPS, EditPair, LocalFamily, rivals_of, twin_pairs
from vivace.data.training_pairs import REVERSE_FAMILIES, TrainingFamily, make_training_pair
from vivace.diffusion.noise import falling_noise
from vivace.models.video_vae import VideoVae

Latent = Float[Tensor, "b c t h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EditPoolConfig:
    """How paired latents are made; a pool of fresh pairs serves `steps_per_pool` train steps.

    Attributes:
        num_pairs: Clips in a pool; each `clips_per_family` of them get one edit.
        pair_share: Share of edits that are a combination of two.
        local_share: Share of edits that change one object.
        local_weights: How often one is added, removed, recoloured, or what is behind it edited.
        twin_share: Share of removals and recolourings of a named thing where half of the clips show the same
            scene as the other half and another of the things in it is named.
        reverse_share: Share of edits that take another edit back.
        particle_weight: How much more often a family with falling particles is drawn than another one.
        identity_weight: How much more often "leave it as it is" is drawn than another family.
        region_weight: Factor, beyond 1, of the loss where a local edit happens, or, where that is most of the
            picture, at the object that must stay as it is.
        particle_region_weight: The same where opaque particles are.
        switch_share: Share of clips whose memory shows another edit, as after a change of the prompt.
    """

    num_pairs: int = 72
    clips_per_family: int = 4
    batch: int = 24
    steps_per_pool: int = 12
    num_raw_frames: int = 49
    height_px: int = 192
    width_px: int = 320
    pair_share: float = 0.17
    local_share: float = 0.24
    local_weights: tuple[float, float, float, float] = (2.0, 1.0, 1.0, 1.0)
    twin_share: float = 0.0
    reverse_share: float = 0.07
    particle_weight: float = 3.0
    identity_weight: float = 2.0
    region_weight: float = 4.0
    particle_region_weight: float = 1.5
    switch_share: float = 0.25


@dataclass(frozen=True, slots=True)
class LatentPool:
    """Paired latents, the falling noise that belongs to them, what counts more, and the family of each clip.

    Attributes:
        other: The source in another look.
        weight: Factor of the error of a latent place; 1 is ordinary.
        region: Share in [0, 255] to which a pixel belongs to what is edited locally, particles among it.
    """

    source: Latent
    target: Latent
    other: Latent
    falling: Latent
    weight: Float[Tensor, "b 1 t h w"]
    region: UInt8[Tensor, "b 1 r y x"]
    families: tuple[TrainingFamily, ...]


def twin_rows(config: EditPoolConfig) -> dict[int, int]:
    """The clip of a pool that would be the twin of each clip in the first half of its family's."""
    half = config.clips_per_family // 2
    return {
        row: row + half
        for first in range(0, config.num_pairs - config.clips_per_family + 1, config.clips_per_family)
        for row in range(first, first + half)
    }


def draw_rows(config: EditPoolConfig, rng: random.Random) -> list[int]:
    """Which clips of a pool a train step sees: twins together, where there are any.

    Side by side, and from the same noise, all that differs between them is the word and what it asks for.

    Raises:
        ConfigError: If twins are wanted and batches or families have odd numbers of clips.
    """
    if config.twin_share == 0:
        return rng.sample(range(config.num_pairs), config.batch)
    if config.batch % 2 or config.clips_per_family % 2 or config.num_pairs % config.clips_per_family:
        raise ConfigError(
            f"EditPoolConfig: got batch {config.batch}, clips_per_family {config.clips_per_family} and "
            f"num_pairs {config.num_pairs}, expected even numbers and whole families where there are twins"
        )
    twins = twin_rows(config)
    return [row for first in rng.sample(sorted(twins), config.batch // 2) for row in (first, twins[first])]


class EditPools:
    """Makes pools as a pure function of (seed, index) and keeps the newest."""

    def __init__(self, config: EditPoolConfig, clips: ClipStore, vae: VideoVae, seed: int) -> None:
        self.config = config
        self.clips = clips
        self.vae = vae
        self.seed = seed
        self._newest: tuple[int, LatentPool] | None = None

    def pool(self, index: int) -> LatentPool:
        """The pool with this index."""
        if self._newest is None or self._newest[0] != index:
            self._newest = index, self._make(mix_seed(self.seed, 0, index))
        return self._newest[1]

    def draw_family(self, rng: random.Random) -> TrainingFamily:
        """A family with the shares of the config."""
        config = self.config
        kind = rng.random()
        local = rng.choices(LOCAL_GROUPS, config.local_weights)[0]
        for share, families in (
            (config.pair_share, PAIRS),
            (config.local_share, local),
            (config.reverse_share, REVERSE_FAMILIES),
        ):
            if kind < share:
                return rng.choice(families)
            kind -= share
        return self._draw_global(rng)

    def _draw_global(self, rng: random.Random) -> EditFamily:
        config = self.config
        weights = [1.0 if f.edit.particles is None else config.particle_weight for f in FAMILIES]
        weights[FAMILIES.index(IDENTITY)] = config.identity_weight
        return rng.choices(FAMILIES, weights)[0]

    @torch.no_grad()
    def _make(self, seed: int) -> LatentPool:
        config = self.config
        rng = random.Random(seed)
        video = self.clips.sample(
            seed, config.num_pairs, config.num_raw_frames, config.height_px, config.width_px
        )
        parts: list[tuple[Tensor, ...]] = []
        families: list[TrainingFamily] = []
        for clips in video.split(config.clips_per_family):
            family, other = self.draw_family(rng), self._draw_global(rng)
            place = rng.getrandbits(30)
            pair, of_group = self._pair(clips, family, place, rng)
            videos = pair.source, pair.target, make_pair(pair.source, other, place)
            source, target, other_target = self._encode(torch.cat(videos)).chunk(3)
            size = source.shape[3], source.shape[4]
            falling = falling_noise(place, 0, source.shape[2], size, WEATHER).to(source)
            region, factor = self._region(pair, family, place)
            weight = 1 + factor * _on_latent_grid(region, source.shape)
            falling = falling.expand(len(clips), -1, -1, -1, -1)
            parts.append((source, target, other_target, falling, weight, (255 * region).to(torch.uint8)))
            families += of_group
        return LatentPool(*(torch.cat(column) for column in zip(*parts)), families=tuple(families))

    def _pair(
        self, clips: Video, family: TrainingFamily, place: int, rng: random.Random
    ) -> tuple[EditPair, Sequence[TrainingFamily]]:
        """The pair of some clips, and the family of each."""
        rivals = rivals_of(family) if isinstance(family, LocalFamily) else ()
        half = len(clips) // 2
        # drawn for every family, so that the share changes nothing else
        is_twin = rng.random() < self.config.twin_share
        if not rivals or not is_twin or half == 0 or len(clips) % 2:
            return make_training_pair(clips, family, place), [family] * len(clips)
        assert isinstance(family, LocalFamily)
        rival = rng.choice(rivals)
        a, b = twin_pairs((family, rival), clips[:half], place)
        assert a.mask is not None
        assert b.mask is not None
        both = (torch.cat(x) for x in ((a.source, b.source), (a.target, b.target), (a.mask, b.mask)))
        return EditPair(*both), [family] * half + [rival] * half

    def _region(
        self, pair: EditPair, family: TrainingFamily, place: int
    ) -> tuple[Float[Tensor, "b 1 r y x"], float]:
        """What stands out of the picture, in [0, 1], and how much more it counts."""
        b, _, *size = pair.source.shape
        nothing = torch.zeros(b, 1, *size, device=pair.source.device)
        if isinstance(family, EditFamily | FamilyPair) and family.edit.particles is not None:
            alpha, _ = family.edit.particles(pair.source.shape, place, 0, pair.source.device)
            return nothing + alpha, self.config.particle_region_weight
        if pair.mask is None:
            return nothing, 0.0
        # what is most of the picture does not stand out, what it leaves over does
        small = pair.mask if pair.mask.float().mean() <= 0.5 else ~pair.mask
        return nothing + small, self.config.region_weight

    def _encode(self, video: Float[Tensor, "b c r h w"]) -> Latent:
        # fp32 weights under autocast would be cast anew for every call: the frozen VAE is bf16 itself
        dtype = next(self.vae.parameters()).dtype
        with torch.autocast(video.device.type, enabled=False):
            latent, _ = self.vae.encode((video * 2 - 1).to(dtype), None)
        return latent.float()


def _on_latent_grid(region: Float[Tensor, "b 1 r y x"], shape: torch.Size) -> Float[Tensor, "b 1 t h w"]:
    """The largest value within each latent place; the first latent frame holds one raw frame."""
    first, rest = region[:, :, :1], region[:, :, 1:]
    grouped = rearrange(rest, "b 1 (t g) y x -> b 1 t g y x", g=rest.shape[2] // (shape[2] - 1)).amax(3)
    return F.adaptive_max_pool3d(torch.cat([first, grouped], dim=2), shape[2:])
