from itertools import pairwise

import pytest
import torch

from small_clips import write_clip
from vivace.core.errors import InputError
from vivace.evaluation.footage import as_video, load_evaluation_clips, ping_pong, reconstruct


def test_clips_are_found_by_name_with_or_without_ending_in_the_wanted_order(tmp_path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [40 * i for i in range(6)])
    assert [clip.name for clip in load_evaluation_clips(tmp_path)] == ["a", "b"]
    assert [clip.name for clip in load_evaluation_clips(tmp_path, ["b.mp4", "a"])] == ["b", "a"]
    with pytest.raises(InputError, match="no clip 'c'"):
        load_evaluation_clips(tmp_path, ["c"])


def test_a_cut_has_one_frame_and_whole_groups_of_four(clip) -> None:
    assert clip.cut(100, 48, 64).shape == (9, 48, 64, 3)
    assert clip.cut(7, 32, 32).shape == (5, 32, 32, 3)
    assert clip.cut(1, 48, 64).shape == (1, 48, 64, 3)


def test_ping_pong_turns_at_both_ends_without_repeating_them() -> None:
    assert [ping_pong(i, 4) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert all(abs(a - b) == 1 for a, b in pairwise(ping_pong(i, 5) for i in range(40)))
    assert ping_pong(7, 1) == 0


def test_a_clip_streamed_through_the_vae_is_that_clip_encoded_at_once(toy_editor, clip) -> None:
    vae = toy_editor.pipeline.vae
    video = as_video(clip.cut(9, 48, 64))
    with torch.no_grad():
        whole, _ = vae.decode(vae.encode(video * 2 - 1, None)[0], None)
    torch.testing.assert_close(reconstruct(vae, video), whole / 2 + 0.5, atol=1e-5, rtol=0)
