"""The toy example learns, streams what it computes offline, and stays small enough to read."""

import importlib.util
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_stream.py"


def test_the_toy_editor_learns_and_streams_what_it_computes_offline(capsys):
    spec = importlib.util.spec_from_file_location("toy_stream", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    toy = sys.modules["toy_stream"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    toy.main()  # asserts that the loss fell, that streaming equals offline and that both edits were learned
    printed = capsys.readouterr().out
    assert all(f"{instruction}: squared error" in printed for instruction in toy.INSTRUCTIONS)


def test_the_toy_example_fits_on_a_few_screens():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 200
