"""What a model in training makes of whole clips: all at once, or chunk after chunk as when serving."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.diffusion.sampler import euler_step, sample
from vivace.models.streaming_dit import DitState, StreamingDit, TextContext
from vivace.pipelines.stream import CommitMode
from vivace.pipelines.velocity_graphs import VelocityGraphs
from vivace.recipes.instructed_editor import InstructedEditor

Latent = Float[Tensor, "b c t h w"]


@torch.no_grad()
def whole_clip(
    editor: InstructedEditor, noise: Latent, source: Latent, ids: Sequence[list[int]], sigmas: Sequence[float]
) -> Latent:
    """Bidirectional sampling: all frames of the clips are one chunk at one noise level."""
    features, mask = editor.encode(*editor.prompts.pad_ids(ids))
    text = editor.dit.embed_text(features, mask)

    def denoise(x: Latent, sigma: float) -> Latent:
        level = torch.full((x.shape[0], 1), sigma, device=x.device)
        return editor.dit(torch.cat([x, source], dim=1), level, text, write=False)[0].float()

    return sample(denoise, noise, sigmas)


@torch.no_grad()
def stream_clip(
    editor: InstructedEditor,
    noise: Latent,
    source: Latent,
    ids: Sequence[list[int]],
    sigmas: Sequence[float],
    commit: CommitMode,
) -> Latent:
    """Chunk after chunk of one latent frame, as the pipeline serves."""
    features, mask = editor.encode(*editor.prompts.pad_ids(ids))
    return _streamed(editor.dit, editor.dit.embed_text(features, mask), noise, source, sigmas, commit)


class OwnMemory:
    """`stream_clip` of a model in training: in bf16, as served, and replayed from graphs on a GPU."""

    def __init__(self, editor: InstructedEditor) -> None:
        self.editor = editor
        self._served = copy.deepcopy(editor.dit).bfloat16().requires_grad_(False).eval()
        self._graphs = VelocityGraphs(self._served)

    @torch.no_grad()
    def __call__(
        self,
        noise: Latent,
        source: Latent,
        ids: Sequence[list[int]],
        sigmas: Sequence[float],
        commit: CommitMode,
    ) -> Latent:
        """What the editor, as it is now, makes of the clips."""
        for served, trained in zip(self._served.parameters(), self.editor.dit.parameters()):
            served.copy_(trained)
        features, mask = self.editor.encode(*self.editor.prompts.pad_ids(ids))
        with torch.autocast(noise.device.type, enabled=False):
            text = self._served.embed_text(features.bfloat16(), mask)
            # a clone, because tensors made while inferring cannot be trained on
            return _streamed(self._graphs, text, noise, source, sigmas, commit).clone()


def _streamed(
    dit: StreamingDit | VelocityGraphs,
    text: TextContext,
    noise: Latent,
    source: Latent,
    sigmas: Sequence[float],
    commit: CommitMode,
) -> Latent:
    dtype = text.keys[0].dtype
    state: DitState | None = None
    made: list[Tensor] = []
    for frame in range(noise.shape[2]):
        x, seen = noise[:, :, frame : frame + 1], source[:, :, frame : frame + 1].to(dtype)
        levels = [torch.full((x.shape[0], 1), sigma, device=x.device) for sigma in (*sigmas, 0.0)]
        written = state
        for level, sigma, sigma_next in zip(levels, sigmas, (*sigmas[1:], 0.0)):
            writes = commit == "last_step" and sigma_next == 0.0
            velocity, written = dit(torch.cat([x.to(dtype), seen], dim=1), level, text, state, write=writes)
            x = euler_step(x, velocity.float(), sigma, sigma_next)
        if commit == "clean_pass":
            _, written = dit(torch.cat([x.to(dtype), seen], dim=1), levels[-1], text, state, write=True)
        state = written
        made.append(x)
    return torch.cat(made, dim=2)
