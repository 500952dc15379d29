"""The Python lines of the README run as they are written."""

from pathlib import Path

import numpy as np

import vivace
from vivace.catalog.editor import Editor

README = Path(__file__).parents[2] / "README.md"


def test_the_python_lines_of_the_readme_edit_frames_and_change_the_prompt(toy_editor: Editor, monkeypatch):
    opened: list[str] = []

    def open_editor(name: str) -> Editor:
        opened.append(name)
        return toy_editor

    monkeypatch.setattr(vivace, "open_editor", open_editor, raising=False)
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    frames = np.random.default_rng(0).integers(0, 256, (9, 50, 70, 3), dtype=np.uint8)
    names = {"frames": frames[:5], "more_frames": frames[5:]}
    exec(code, names)
    assert opened == ["tiny-edit"]
    assert len(names["edited"]) == 5
    assert len(names["edited_later"]) == 4
