"""What the project promises about itself: sizes, names, imports and the wheel."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "vivace").rglob("*.py"))
WEIGHTS = ROOT / "vivace" / "catalog" / "weights"
MIB = 2**20

FORBIDDEN_WORDS = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils", "wrapper"}
# a path from the root of a file system, but for folders that every Unix has and for paths inside packages
MACHINE_PATH = re.compile(
    r"""(?:^|[\s"'`=(\[])((?:/(?!bin/|contents/|dev/|etc/|proc/|sys/|tmp/|usr/)[\w.-]+/[\w.-]+|[A-Za-z]:\\[\w.-]+\\)\S*)""",
    re.MULTILINE,
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that git keeps and that are still there; skips in a tree without git."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def total_bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_a_clone_is_quick_because_the_tracked_tree_is_small(tracked):
    assert total_bytes(tracked) <= 40 * MIB


def test_test_fixtures_take_at_most_8_mb(tracked):
    inside = [path for path in tracked if (ROOT / "tests") in path.parents]
    fixtures = [path for path in inside if path.suffix not in (".py", ".md")]
    assert fixtures
    assert total_bytes(fixtures) <= 8_000_000


def test_bundled_weights_take_at_most_28_mb_in_files_of_at_most_15_mib():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert files
    assert total_bytes(files) <= 28_000_000
    assert max(path.stat().st_size for path in files) <= 15 * MIB


def test_no_tracked_file_names_a_path_of_one_machine(tracked):
    found = []
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {match[1]}" for match in MACHINE_PATH.finditer(text)]
    assert not found


@pytest.mark.parametrize("path", ["|home|me|clip.mp4", "(|opt|model|a)", "x=|mnt|data|y", "C:!Users!me!x"])
def test_the_search_for_machine_paths_finds_them(path):
    # spelled with other marks, or the search would find this file
    assert MACHINE_PATH.search("see " + path.replace("|", "/").replace("!", "\\"))


def test_the_search_for_machine_paths_leaves_others_alone():
    assert not MACHINE_PATH.search("/dev/video0 /tmp/x https://a.org/b/c a/b/c 1/2/3 and 3 / 4 / 5, `//b/c`")


def test_no_module_is_too_long_to_read():
    for path in SOURCES:
        limit = 600 if path.stem.startswith("triton") else 400
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        assert num_lines <= limit, f"{name_of(path)} has {num_lines} lines, split where a second idea begins"


def test_every_module_says_first_what_it_owns():
    for path in SOURCES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, f"{name_of(path)} has no docstring"
        assert docstring.splitlines()[0].endswith("."), f"{name_of(path)}: the first line is one sentence"


def test_nothing_is_named_after_what_it_is_not():
    for path in SOURCES:
        words = set(re.split(r"[/_.]+", name_of(path)))
        assert not words & FORBIDDEN_WORDS, f"{name_of(path)} is a grab-bag by name"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                words = {word.lower() for word in re.findall(r"[A-Z][a-z]+", node.name)}
                assert not words & FORBIDDEN_WORDS, f"{name_of(path)}: class {node.name}"


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def test_no_setting_is_read_by_name():
    for path in [*SOURCES, *(ROOT / "examples").rglob("*.py")]:
        for call in calls(path):
            if isinstance(call.func, ast.Name) and call.func.id == "getattr":
                of = ast.unparse(call.args[0]).rsplit(".")[-1].lower()
                place = f"{name_of(path)}:{call.lineno}"
                assert not of.endswith(("config", "args", "spec", "settings")), place


def test_only_the_config_module_reads_the_environment():
    for path in SOURCES:
        if path == ROOT / "vivace" / "core" / "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {getattr(node, field, None) for field in ("attr", "id", "name")}
            assert not names & {"environ", "getenv"}, f"{name_of(path)}:{getattr(node, 'lineno', 0)}"


def test_everything_imports_without_triton_and_transformers():
    dotted = [name_of(path).removesuffix(".py").replace("/", ".") for path in SOURCES]
    modules = [name.removesuffix(".__init__") for name in dotted]
    stems = {name: name.rsplit(".", 1)[-1] for name in modules}
    chosen = [name for name, stem in stems.items() if not stem.startswith(("triton", "__main__"))]
    assert "vivace.pipelines.edit" in chosen
    code = "import sys\nsys.modules['triton'] = sys.modules['transformers'] = None\n"
    code += "\n".join(f"import {module}" for module in chosen)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_import_of_the_package_alone_does_not_load_torch():
    code = "import sys, vivace; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_wheel_carries_weights_types_and_licence(tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "vivace", tree / "vivace", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("vivace-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    expected = {path for path in (tree / "vivace").rglob("*") if path.is_file()}
    assert {path.relative_to(tree).as_posix() for path in expected} <= carried
    assert any(name.endswith("licenses/LICENSE") for name in carried)
    assert not {name.split("/")[0] for name in carried} & {"tests", "examples", "docs"}
