"""The documents name files, functions, tests and settings that exist."""

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest

from vivace.core.config import Environment

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SYSTEMS = sorted((ROOT / "docs" / "systems").glob("*.md"))

QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"((?:vivace|tests|examples|docs|benchmarks)/[\w./-]+?)/?(?::([\w.]+))?")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def names_in(path: Path) -> frozenset[str]:
    """Dotted names that a module defines: functions, classes, their members, variables."""

    def defined(nodes: list[ast.stmt], prefix: str) -> set[str]:
        names: set[str] = set()
        for node in nodes:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(prefix + name)
                case ast.ClassDef(name=name, body=body):
                    names |= {prefix + name} | defined(body, f"{prefix}{name}.")
                case ast.Assign(targets=targets):
                    names |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
                case ast.AnnAssign(target=ast.Name(id=name)):
                    names.add(prefix + name)
        return names

    return frozenset(defined(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def table(document: str, heading: str) -> list[list[str]]:
    """The rows of the first table whose header starts with `heading`."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_and_function_named_exists(document):
    for quoted in QUOTED.findall(document.read_text(encoding="utf-8")):
        if (match := PATH.fullmatch(quoted)) is None:
            continue
        path, name = ROOT / match[1], match[2]
        assert path.exists(), f"{quoted} is not there"
        assert name is None or name in names_in(path), f"{quoted} is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file(document):
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", SYSTEMS, ids=name_of)
def test_every_test_named_in_a_system_table_exists(document):
    tests = names_in(ROOT / "tests" / "systems" / f"test_{document.stem}.py")
    named = set(re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8")))
    assert named
    assert named <= tests


@pytest.mark.parametrize("document", SYSTEMS, ids=name_of)
def test_every_test_of_a_system_stands_in_its_table(document):
    tests = names_in(ROOT / "tests" / "systems" / f"test_{document.stem}.py")
    text = document.read_text(encoding="utf-8")
    assert not [name for name in tests if name.startswith("test_") and name not in text]


def test_the_life_of_a_frame_has_eight_steps_that_name_code():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = re.split(r"^\d\. ", text.split("## Life of a frame")[1].split("\n## ")[0], flags=re.MULTILINE)[1:]
    assert len(steps) == 8
    assert all(re.search(r"`vivace/[\w/]+\.py:[\w.]+`", step) for step in steps)


def test_our_column_of_the_translation_table_is_the_words_of_the_code():
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "vivace").rglob("*.py"))
    words = set(re.findall(r"\w+", "\n".join(sources)))
    ours = [QUOTED.findall(row[0]) for row in table("docs/vocabulary.md", "ours")]
    assert len(ours) > 20
    assert not [name for names in ours for name in names if name not in words]


def test_the_environment_table_lists_what_the_code_reads(monkeypatch):
    rows = {QUOTED.findall(row[0])[0]: row for row in table("docs/env.md", "variable")}
    config = (ROOT / "vivace" / "core" / "config.py").read_text(encoding="utf-8")
    texts = [node.value for node in ast.walk(ast.parse(config)) if isinstance(node, ast.Constant)]
    read = {text for text in texts if isinstance(text, str) and re.fullmatch(r"VIVACE_[A-Z_]+", text)}
    assert read == set(rows)

    for name in rows:
        monkeypatch.delenv(name, raising=False)
    unset = Environment.read()
    assert unset.home == Path(os.path.expanduser(QUOTED.findall(rows["VIVACE_HOME"][2])[0]))
    assert unset.num_threads is None
    assert rows["VIVACE_NUM_THREADS"][2] == "torch decides"
