import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from vivace.core.config import Environment, from_json, read_config, to_json, write_config
from vivace.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    side: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    radius: float
    unit: Literal["mm", "m"] = "mm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    shapes: tuple[Square | Circle, ...]
    size: tuple[int, int]
    title: str | None = None
    folder: Path = Path(".")


DRAWING = Drawing(shapes=(Square(side=2.0), Circle(radius=1.5, unit="m")), size=(3, 4), folder=Path("a/b"))


def test_a_config_survives_json():
    assert from_json(Drawing, json.loads(json.dumps(to_json(DRAWING)))) == DRAWING


def test_a_config_survives_a_file(tmp_path):
    write_config(DRAWING, tmp_path / "drawing.json")
    assert read_config(Drawing, tmp_path / "drawing.json") == DRAWING
    assert [path.name for path in tmp_path.iterdir()] == ["drawing.json"]


def test_an_unknown_key_is_refused_and_near_names_are_listed():
    data = to_json(DRAWING)
    data["sizes"] = data.pop("size")
    with pytest.raises(ConfigError, match=r"unknown key 'sizes'.*size"):
        from_json(Drawing, data)


def test_a_missing_key_is_named():
    data = to_json(DRAWING)
    del data["shapes"][0]["side"]
    with pytest.raises(ConfigError, match=r"shapes\[0\].*'side' is missing"):
        from_json(Drawing, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [1]}, "expected 2"),
        ({"size": [1, "x"]}, "expected int"),
        ({"size": [1, True]}, "expected int"),
        ({"title": 3}, "expected str"),
        ({"shapes": [{"kind": "Line"}]}, "Circle"),
        ({"shapes": 3}, "expected a list"),
    ],
)
def test_a_value_of_another_type_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        from_json(Drawing, {**to_json(DRAWING), **change})


def test_a_literal_is_checked():
    with pytest.raises(ConfigError, match="expected one of"):
        from_json(Circle, {"kind": "Circle", "radius": 1.0, "unit": "inch"})


def test_a_missing_or_broken_file_gives_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no config"):
        read_config(Drawing, tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        read_config(Drawing, tmp_path / "broken.json")


def test_the_environment_is_typed(monkeypatch, tmp_path):
    monkeypatch.setenv("VIVACE_HOME", str(tmp_path))
    monkeypatch.setenv("VIVACE_NUM_THREADS", "3")
    monkeypatch.setenv("VIVACE_HUB_ENDPOINT", "https://mirror.example/")
    mirror = "https://mirror.example"
    assert Environment.read() == Environment(home=tmp_path, num_threads=3, hub_endpoint=mirror)
    monkeypatch.setenv("VIVACE_HUB_ENDPOINT", "mirror.example")
    with pytest.raises(ConfigError, match="VIVACE_HUB_ENDPOINT"):
        Environment.read()
    monkeypatch.delenv("VIVACE_HUB_ENDPOINT")
    monkeypatch.setenv("VIVACE_NUM_THREADS", "many")
    with pytest.raises(ConfigError, match="many"):
        Environment.read()
