import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vivace.core.errors import InputError
from vivace.data.clips import ClipSamplingConfig, ClipStore, list_files

EXACT = ClipSamplingConfig(
    still_share=0,
    exact_share=1,
    double_speed_share=0,
    reversed_share=0,
    moving_object_share=0,
    color_jitter=0,
)


def moving_clip(num_frames: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """Every pixel tells its frame, row and column."""
    frame, row, column = np.meshgrid(
        np.arange(num_frames), np.arange(height), np.arange(width), indexing="ij"
    )
    return np.stack([frame * 10, row, column], axis=-1).astype(np.uint8)


def still(height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def mixed_store() -> ClipStore:
    return ClipStore(
        [("a", "clip", moving_clip()), ("b", "clip", moving_clip(3, 40, 40)), ("c", "still", still())]
    )


def test_a_sample_is_a_pure_function_of_the_seed() -> None:
    store = mixed_store()
    first = store.sample(5, 6, 5, 32, 32)
    torch.manual_seed(3)
    store.sample(6, 2, 5, 32, 32)
    assert torch.equal(store.sample(5, 6, 5, 32, 32), first)
    assert torch.equal(mixed_store().sample(5, 6, 5, 32, 32), first)
    assert not torch.equal(store.sample(6, 6, 5, 32, 32), first)


def test_samples_have_the_asked_shape_and_stay_in_range() -> None:
    video = mixed_store().sample(0, 24, 5, 32, 48)
    assert video.shape == (24, 3, 5, 32, 48)
    assert video.dtype == torch.float32
    assert video.min() >= 0
    assert video.max() <= 1
    assert torch.isfinite(video).all()


def test_an_exact_sample_is_cut_from_one_clip_at_pixel_borders() -> None:
    store = ClipStore([("a", "clip", moving_clip())], sampling=EXACT)
    for video in store.sample(1, 8, 5, 32, 32):
        frame, row, column = (video * 255).round().long()
        assert (frame[:, 0, 0].diff() == 10).all()
        assert (row[0, :, 0].diff() == 1).all()
        steps = column[0, 0].diff()
        assert (steps == 1).all() or (steps == -1).all()  # a flip is allowed


def test_clips_shorter_than_a_sample_are_played_back_and_forth() -> None:
    store = ClipStore([("a", "clip", moving_clip(3))], sampling=EXACT)
    frame = (store.sample(0, 1, 7, 32, 32)[0, 0, :, 0, 0] * 255 / 10).round().long()
    assert frame.tolist() == [0, 1, 2, 1, 0, 1, 2]


def test_a_clip_smaller_than_the_picture_is_enlarged() -> None:
    store = ClipStore([("a", "clip", moving_clip(4, 16, 16))], sampling=EXACT)
    assert store.sample(0, 1, 3, 32, 32).shape == (1, 3, 3, 32, 32)


def test_a_still_moves() -> None:
    store = ClipStore([("c", "still", still())])
    video = store.sample(2, 8, 5, 32, 32)
    changes = (video[:, :, 1:] - video[:, :, :-1]).abs().mean(dim=(1, 2, 3, 4))
    assert (changes > 1e-3).sum() >= 4


def test_a_folder_is_decoded_as_its_manifest_says(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in moving_clip(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "stills").mkdir()
    Image.fromarray(still()[0]).save(tmp_path / "stills" / "b.png")
    Image.fromarray(still()[0]).save(tmp_path / "unlisted.png")
    files = [{"file": "a.mp4", "kind": "clip", "fps": 24}, {"file": "stills/b.png", "kind": "still"}]
    (tmp_path / "manifest.json").write_text(json.dumps(files))
    store = ClipStore.load(tmp_path, num_threads=2)
    assert [(e.name, e.kind, e.num_frames) for e in store.entries] == [
        ("a.mp4", "clip", 6),
        ("stills/b.png", "still", 1),
    ]
    assert torch.equal(store.frames(store.entries[1]), torch.from_numpy(still()))
    (tmp_path / "manifest.json").unlink()
    assert len(list_files(tmp_path)) == 3


def test_a_folder_without_footage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no footage"):
        ClipStore.load(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps([{"file": "gone.mp4", "kind": "clip"}]))
    with pytest.raises(InputError, match=r"gone\.mp4"):
        ClipStore.load(tmp_path)
    with pytest.raises(InputError, match="no clips"):
        ClipStore([])
