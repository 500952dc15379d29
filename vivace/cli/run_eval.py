"""`vivace eval`: measures how good a model's edits are on held-out clips and writes tables and pictures."""

import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from vivace.catalog.editor import open_editor
from vivace.catalog.load import use_threads
from vivace.cli.arguments import EvalArguments
from vivace.cli.quantities import parse_size
from vivace.core.config import Environment, to_json, write_config
from vivace.core.errors import InputError
from vivace.data.contact_sheet import contact_sheet
from vivace.data.edit_pairs import EditFamily, FamilyPair
from vivace.data.training_pairs import training_family_named
from vivace.evaluation.editor_evaluation import evaluate_editor
from vivace.evaluation.fidelity import EditSettings
from vivace.evaluation.footage import load_evaluation_clips
from vivace.evaluation.report import EvaluationConfig
from vivace.evaluation.report_page import markdown_page
from vivace.models.perceptual import Lpips

LPIPS_NAME = "lpips_alex.safetensors"
FAMILIES_A_ROW = 8
CELL_WIDTH_PX = 200


def run_eval(arguments: EvalArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If the model, the clips, the LPIPS weights or an option cannot be used.
    """
    use_threads(arguments.threads)
    lpips_path = arguments.lpips or Environment.read().home / LPIPS_NAME
    if not lpips_path.is_file():
        raise InputError(
            f"there are no LPIPS weights at {lpips_path}; make them once with "
            f"`python -m vivace.recipes.lpips_weights --out {lpips_path}`"
        )
    config = _config(arguments)
    clips = load_evaluation_clips(arguments.clips, arguments.only)
    editor = open_editor(arguments.model, device=arguments.device, dtype=arguments.precision)
    out = arguments.out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, list[tuple[str, np.ndarray]]] = {}
    console = Console(stderr=True)

    def show(clip: str, family: str, picture: np.ndarray) -> None:
        pictures.setdefault(clip, []).append((family, picture))

    def say(line: str) -> None:
        if not arguments.quiet:
            console.print(line, soft_wrap=True, highlight=False)

    report = evaluate_editor(
        editor, clips, Lpips.load(lpips_path), config, model=arguments.model, show=show, say=say
    )
    page = markdown_page(report)
    if out is not None:
        write_config(report, out / "report.json")
        (out / "report.md").write_text(page, encoding="utf-8")
        if pictures:
            write_sheet(pictures, out / "sheet.png")
        say(f"written to {out}")
    if not arguments.quiet:
        Console(stderr=arguments.json).print(Markdown(page))
    if arguments.json:
        print(json.dumps(to_json(report)))
    return 0


def write_sheet(pictures: dict[str, list[tuple[str, np.ndarray]]], path: Path) -> Path:
    """A row of families for every clip, several where they are many: source, edit and target stacked."""
    rows: list[list[np.ndarray]] = []
    labels: list[str] = []
    for clip, cells in pictures.items():
        for start in range(0, len(cells), FAMILIES_A_ROW):
            part = cells[start : start + FAMILIES_A_ROW]
            rows.append([picture for _, picture in part])
            labels.append(f"{clip}, source / edit / target: {', '.join(name for name, _ in part)}")
    return contact_sheet(rows, labels, path, cell_width_px=CELL_WIDTH_PX)


def _config(arguments: EvalArguments) -> EvaluationConfig:
    plain = EvaluationConfig()
    width_px, height_px = (
        (plain.width_px, plain.height_px) if arguments.size is None else parse_size(arguments.size)
    )
    if width_px % 16 or height_px % 16 or min(width_px, height_px) < 32:
        raise InputError(
            f"got the size {width_px}x{height_px}, expected multiples of 16 from 32x32 on, like 320x192"
        )
    numbers = {
        "--frames": arguments.frames,
        "--scenes": arguments.scenes,
        "--instruction-clips": arguments.instruction_clips,
        "--train-phrasings": arguments.train_phrasings,
    }
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"got {name} {number}, expected at least 1")
    named = [training_family_named(name) for name in arguments.families]
    is_plain = [isinstance(family, EditFamily | FamilyPair) for family in named]
    return EvaluationConfig(
        parts=arguments.parts,
        families=tuple(f.name for f, plain in zip(named, is_plain) if plain) if named else plain.families,
        local_families=(
            tuple(f.name for f, plain in zip(named, is_plain) if not plain) if named else plain.local_families
        ),
        scenes=arguments.scenes,
        width_px=width_px,
        height_px=height_px,
        num_frames=arguments.frames,
        editing=EditSettings(
            seed=arguments.seed, num_denoising_steps=arguments.steps, commit=arguments.commit
        ),
        instruction_clips=arguments.instruction_clips,
        train_phrasings=arguments.train_phrasings,
        drift_frames=arguments.drift_frames,
    )
