"""The rooms of docs/architecture.md: imports point down only, and every room has its place."""

import logging.config
import tomllib
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]


def test_imports_keep_to_the_rooms(capsys, monkeypatch):
    # it would turn off every logger that exists, for the tests that come after this one as well
    monkeypatch.setattr(logging.config, "dictConfig", lambda settings: None)
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_only_recipes_may_import_transformers():
    (contract,) = [one for one in settings()["contracts"] if one["id"] == "transformers"]
    rooms = {path.parent.name for path in (ROOT / "vivace").glob("*/__init__.py")}
    assert set(contract["source_modules"]) == {f"vivace.{room}" for room in rooms - {"recipes"}}


def test_the_architecture_text_draws_the_rooms_that_are_checked():
    (contract,) = [one for one in settings()["contracts"] if one["id"] == "rooms"]
    checked = [line.strip("()") for line in contract["layers"]]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = text.split("```text\n")[1].split("```")[0].strip().splitlines()
    assert [line.strip() for line in drawn] == checked
