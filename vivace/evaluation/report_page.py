"""The tables of a report as Markdown; computes nothing but rounding."""

from collections.abc import Sequence

from vivace.data.edit_pairs import FAMILIES
from vivace.evaluation.drift import LookStatistics
from vivace.evaluation.report import EvaluationReport, mean


def markdown_page(report: EvaluationReport) -> str:
    """All tables that the report has rows for, each under a heading."""
    sections = (
        ("Video VAE", _reconstruction(report)),
        ("Edit families", _fidelity(report)),
        ("Local and reverse edits", _local(report)),
        ("A scene that does not move", _still(report)),
        ("Instructions", _instructions(report)),
        ("Drift", _drift(report)),
    )
    config = report.config
    small = f"{config.small_width_px}x{config.small_height_px}"
    size = f"{config.width_px}x{config.height_px}"
    head = (
        f"# Evaluation of {report.model}\n\n{report.num_denoising_steps} steps, {report.precision}. "
        f"Instructions are measured on {config.instruction_frames} raw frames of {small}, drift at {small}, "
        f"everything else at {size} on at most {config.num_frames} raw frames a clip.\n"
    )
    return head + "".join(f"\n## {title}\n\n{text}" for title, text in sections if text)


def _reconstruction(report: EvaluationReport) -> str:
    rows = [
        (
            row.clip,
            str(row.num_frames),
            _n(s.psnr_db, 2),
            _n(s.ssim),
            _n(s.lpips),
            _n(s.motion_error_levels, 2),
        )
        for row in report.reconstruction
        for s in (row.scores,)
    ]
    if len(rows) > 1:
        all_scores = [row.scores for row in report.reconstruction]
        rows.append(
            (
                "mean",
                str(sum(row.num_frames for row in report.reconstruction)),
                _n(mean(s.psnr_db for s in all_scores), 2),
                _n(mean(s.ssim for s in all_scores)),
                _n(mean(s.lpips for s in all_scores)),
                _n(mean(s.motion_error_levels for s in all_scores), 2),
            )
        )
    return _table(("clip", "frames", "PSNR dB", "SSIM", "LPIPS", "motion error, 255ths"), rows)


def _fidelity(report: EvaluationReport) -> str:
    header = (
        "family", "clips", "LPIPS edit", "LPIPS source", "ratio", "worst clip", "perfect",
        "warp error edit / T", "particles edit / T", "fall edit / T, px",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for name, found in report.fidelity_of_families().items():
        ratios = [row.ratio for row in found if row.ratio is not None]
        wanted, given = mean(row.particles_target for row in found), mean(row.particles_edit for row in found)
        falls = mean(row.fall_target for row in found)
        rows.append(
            (
                name,
                str(len(found)),
                _n(mean(row.lpips_edit for row in found)),
                _n(mean(row.lpips_source for row in found)),
                _n(mean(ratios), 2),
                _n(max(ratios, default=None), 2),
                _n(mean(row.floor_ratio for row in found), 2),
                _n(mean(row.warp_ratio for row in found), 2),
                "" if wanted is None else f"{_n(given, 4)} / {_n(wanted, 4)}",
                "" if falls is None else f"{_n(mean(row.fall_edit for row in found), 1)} / {_n(falls, 1)}",
            )
        )
    if len(rows) > 1:
        warps = mean(row.warp_ratio for row in report.fidelity)
        rows.append(
            (
                "mean",
                str(len(report.fidelity)),
                "",
                "",
                _n(report.mean_ratio, 2),
                "",
                "",
                _n(warps, 2),
                "",
                "",
            )
        )
    return _table(header, rows)


def _local(report: EvaluationReport) -> str:
    header = (
        "family", "clips", "scenes", "share edited", "LPIPS edit", "LPIPS source", "ratio", "worst one",
        "inpainter", "outside: edit", "outside: VAE", "more than the VAE",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for name, found in report.local_of_families().items():
        ratios = [row.ratio for row in found if row.ratio is not None]
        rows.append(
            (
                name,
                str(len({row.clip for row in found})),
                str(len({row.seed for row in found})),
                _percent(mean(row.share for row in found)),
                _n(mean(row.inside_edit for row in found)),
                _n(mean(row.inside_source for row in found)),
                _n(mean(ratios), 2),
                _n(max(ratios, default=None), 2),
                _n(mean(row.inpainted_ratio for row in found), 2),
                _n(mean(row.outside_edit for row in found)),
                _n(mean(row.outside_vae for row in found)),
                _n(mean(row.outside_excess for row in found)),
            )
        )
    if len(rows) > 1:
        ratio = mean(mean(row.ratio for row in found) for found in report.local_of_families().values())
        excess = mean(row.outside_excess for row in report.local)
        rows.append(
            ("mean", str(len(report.local)), "", "", "", "", _n(ratio, 2), "", "", "", "", _n(excess))
        )
    return _table(header, rows)


def _still(report: EvaluationReport) -> str:
    rows = [
        (row.family or "VAE alone", str(row.num_frames), _n(row.flicker_mean), _n(row.flicker_max, 1))
        for row in report.still
    ]
    return _table(("what", "frames", "mean change, 255ths", "largest change"), rows)


def _instructions(report: EvaluationReport) -> str:
    if not report.instructions:
        return ""
    rows: list[tuple[str, ...]] = []
    for name in [*(family.name for family in FAMILIES), None]:
        wrong = [] if name is None else report.taken_for("held_out", name)
        rows.append(
            (
                name or "all",
                str(len(report.instruction_rows("train", name))),
                _percent(report.accuracy("train", name)),
                _n(report.instruction_ratio("train", name), 2),
                str(len(report.instruction_rows("held_out", name))),
                _percent(report.accuracy("held_out", name)),
                _n(report.instruction_ratio("held_out", name), 2),
                ", ".join(f"{other} {count}" for other, count in wrong[:3]),
            )
        )
    header = (
        "family", "seen: n", "understood", "ratio", "never seen: n", "understood", "ratio", "taken for",
    )  # fmt: skip
    return _table(header, rows)


def _drift(report: EvaluationReport) -> str:
    rows: list[tuple[str, ...]] = []
    for row in report.drift:
        first, later = _look(row.early), _look(row.late)
        changes = [f"{a:.3f} / {b:.3f}" for a, b in zip(first, later, strict=True)]
        stretch = f"{row.early_frame} and {row.late_frame}"
        rows.append((row.family, row.clip, stretch, str(row.num_frames), *changes))
    header = (
        "family", "clip", "from frame", "frames", "brightness", "contrast", "saturation", "detail", "LPIPS",
    )  # fmt: skip
    return _table(header, rows)


def _look(look: LookStatistics) -> tuple[float, ...]:
    return look.luma, look.contrast, look.saturation, look.detail, look.lpips_edit


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    rule = "|---|" + "---:|" * (len(header) - 1)
    lines = [f"| {' | '.join(header)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _n(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
