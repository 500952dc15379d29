import numpy as np
import pytest
import torch

from vivace.catalog.model_folder import BUNDLED
from vivace.core.errors import InputError
from vivace.data.clips import ClipStore
from vivace.models.video_vae import VideoVae
from vivace.recipes import tiny_edit_nouns
from vivace.recipes.tiny_edit_nouns import named_edits, share_right


class Bank:
    """Says a number in the place of a sentence."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def draw(self, family, rng) -> list[int]:
        self.asked.append(family.name)
        return [len(self.asked) - 1]


@pytest.fixture(scope="module")
def edits():
    pictures = np.random.default_rng(0).integers(0, 255, (2, 24, 40, 3), dtype=np.uint8)
    clips = ClipStore([("noise", "clip", pictures.repeat(8, 1).repeat(8, 2))])
    vae = VideoVae.load(BUNDLED / "video_vae", torch.float32)
    return named_edits("remove", 3, clips, vae, 1)


def test_each_scene_comes_under_both_nouns(edits):
    assert len(edits) in (2, 4, 6)
    for a, b in zip(edits[::2], edits[1::2]):
        assert torch.equal(a.source, b.source)
        assert a.family.shape != b.family.shape
        assert torch.equal(a.named, b.other)
        assert torch.equal(a.other, b.named)
        assert not (a.named & a.other).any()


@pytest.mark.parametrize(("part", "share"), [("named", 1.0), ("other", 0.0)])
def test_an_editor_is_right_where_it_changes_what_is_named(edits, part, share, monkeypatch):
    bank = Bank()

    def changed(editor, noise, source, ids, sigmas, commit):
        places = torch.cat([getattr(edit, part) for edit in edits])
        assert [number for (number,) in ids] == list(range(len(edits)))
        return source + places.float()

    monkeypatch.setattr(tiny_edit_nouns, "stream_clip", changed)
    assert share_right(None, edits, bank, 0) == share  # type: ignore[arg-type]
    assert bank.asked == [edit.family.name for edit in edits]


def test_no_scene_is_refused():
    clips = ClipStore([("still", "still", np.zeros((1, 192, 320, 3), dtype=np.uint8))])
    with pytest.raises(InputError, match="got 0 scenes"):
        named_edits("remove", 0, clips, VideoVae.load(BUNDLED / "video_vae", torch.float32), 1)
