import numpy as np
import pytest
from PIL import Image

from vivace.core.errors import InputError
from vivace.data.contact_sheet import GAP_PX, STRIP_PX, contact_sheet, side_by_side


def flat(color: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def test_pictures_and_clips_stand_beside_each_other():
    pair = side_by_side(flat((255, 0, 0)), flat((0, 0, 255), width=32))
    assert pair.shape == (48, 96, 3)
    assert (pair[:, :64] == (255, 0, 0)).all()
    assert (pair[:, 64:] == (0, 0, 255)).all()
    clip = np.stack([flat((1, 2, 3))] * 5)
    assert side_by_side(clip, clip).shape == (5, 48, 128, 3)


def test_pictures_of_different_height_are_refused():
    with pytest.raises(InputError, match="only the widths may differ"):
        side_by_side(flat((0, 0, 0)), flat((0, 0, 0), height=40))


def test_a_sheet_holds_every_frame_under_its_label(tmp_path):
    red, blue = flat((255, 0, 0)), flat((0, 0, 255), height=32)
    path = contact_sheet(
        [[red] * 3, [blue] * 2],
        ["source", "make it a snowy night"],
        tmp_path / "sheet.png",
        cell_width_px=128,
    )
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * STRIP_PX + 96 + 64 + 3 * GAP_PX, 3 * 128 + 4 * GAP_PX, 3)
    top = STRIP_PX
    assert (sheet[top + 40, [60, 200, 330]] == (255, 0, 0)).all()
    top += 96 + GAP_PX + STRIP_PX
    assert (sheet[top + 30, [60, 200]] == (0, 0, 255)).all()
    assert (sheet[top + 30, 330] < 40).all()
    assert sheet[:STRIP_PX].max() > 150
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_long_label_is_shortened(tmp_path):
    contact_sheet([[flat((9, 9, 9))]], ["very long words " * 40], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 240 + 2 * GAP_PX


@pytest.mark.parametrize(
    ("rows", "labels", "name", "sentence"),
    [
        ([], [], "a.png", "at least one frame"),
        ([[]], ["a"], "a.png", "at least one frame"),
        ([[np.zeros((4, 4, 3), np.uint8)]], ["a", "b"], "a.png", "one label for each row"),
        ([[np.zeros((4, 4, 3), np.uint8)]], ["a"], "a.jpg", "ending in .png"),
        ([[np.zeros((4, 4, 3), np.uint8)]], ["a"], "no/a.png", "there is no folder"),
    ],
)
def test_sheets_that_cannot_be_made_are_refused(tmp_path, rows, labels, name, sentence):
    with pytest.raises(InputError, match=sentence):
        contact_sheet(rows, labels, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
