"""The tests that need a GPU, each file in a process of its own, all at once: most of their time is compiling.

    python benchmarks/gpu_tests.py LOGS [--seconds 100]

Writes a log for each file into LOGS; prints what failed, what was cut off and the sum. Exit code 1 unless all
passed.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]


def test_files() -> list[Path]:
    """Files with a test that needs a GPU."""
    return [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]


def command(file: Path) -> list[str]:
    """What runs one file."""
    options = ["-m", "gpu", "-v", "--no-header", "--continue-on-collection-errors", "--durations=5"]
    if find_spec("beartype") is None or find_spec("jaxtyping") is None:
        # without them, annotated shapes cannot be checked while the tests run
        options += ["-o", "addopts=--import-mode=importlib"]
    return [sys.executable, "-m", "pytest", *options, str(file)]


def counts_of(log: str) -> Counter[str]:
    """How many tests of a log passed, failed and so on."""
    lines = [line for line in log.splitlines() if re.search(r"=+ .*\d+ \w+.* in [\d.]+s", line)]
    found = re.findall(r"(\d+) (passed|failed|errors?|skipped)", lines[-1]) if lines else []
    return Counter({kind.rstrip("s") if kind != "passed" else kind: int(number) for number, kind in found})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logs", type=Path, help="a folder")
    parser.add_argument("--seconds", type=float, default=100, help="for all of them together")
    asked = parser.parse_args(arguments)
    asked.logs.mkdir(parents=True, exist_ok=True)
    began = monotonic()
    running = []
    for file in test_files():
        log = (asked.logs / f"{file.stem}.log").open("w", encoding="utf-8")
        running.append(
            (
                file,
                log,
                subprocess.Popen(command(file), stdout=log, stderr=subprocess.STDOUT, cwd=ROOT),
            )
        )
    total: Counter[str] = Counter()
    for file, log, process in running:
        try:
            process.wait(max(0.1, asked.seconds - (monotonic() - began)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"ERROR {file.relative_to(ROOT)} was cut off")
            total["error"] += 1
        log.close()
        text = (asked.logs / f"{file.stem}.log").read_text(encoding="utf-8", errors="replace")
        print(
            *(line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))), sep="\n", end="\n"
        )
        total += counts_of(text)
    said = ", ".join(f"{number} {kind}" for kind, number in total.items())
    print(f"{said or '0 passed'} in {monotonic() - began:.2f}s")
    return int(not total["passed"] or bool(total["failed"] + total["error"]))


if __name__ == "__main__":
    sys.exit(main())
