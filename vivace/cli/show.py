"""`vivace models`, `vivace info` and `vivace pull`: what there is, without editing anything."""

import dataclasses
import json
from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.table import Table

from vivace.catalog.entries import MODELS, BundledWeights, HubWeights, ModelEntry, find_entry
from vivace.cli.arguments import InfoArguments, ModelsArguments, PullArguments
from vivace.core.errors import InputError
from vivace.data.video_info import VideoInfo
from vivace.data.video_source import probe

BYTES_IN_MB = 1e6


def show_models(arguments: ModelsArguments) -> int:
    """List the models."""
    models = [_describe(entry) for entry in MODELS]
    if arguments.json:
        print(json.dumps(models))
        return 0
    for model in models:
        size = (
            f"{model['size_mb'] / 1000:.1f} GB" if model["size_mb"] >= 1000 else f"{model['size_mb']:.1f} MB"
        )
        source = "bundled" if model["is_bundled"] else f"pullable from {model['repository']}"
        print(f"{model['name']}: {model['summary']}")
        print(f"    {source}, {model['num_parameters'] / 1e6:.1f} M parameters, {size}")
        print(f"    licence: {model['licence']}")
    return 0


def show_info(arguments: InfoArguments) -> int:
    """Describe a video.

    Raises:
        InputError: If it cannot be read.
    """
    info = probe(arguments.file)
    if arguments.json:
        print(json.dumps({"file": arguments.file, **_plain(dataclasses.asdict(info))}))
        return 0
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in _info_rows(arguments.file, info):
        table.add_row(name, value)
    Console().print(table)
    return 0


def refuse_pull(arguments: PullArguments) -> int:
    """Say that weights cannot be pulled yet.

    Raises:
        InputError: Always; if the name is unknown, for that reason.
    """
    entry = find_entry(arguments.name)
    match entry.weights:
        case BundledWeights():
            raise InputError(f"{entry.name} is bundled; there is nothing to pull")
        case HubWeights(repository=repository):
            raise InputError(
                f"this version cannot pull {entry.name} from {repository} yet; use the bundled tiny-edit"
            )


def _describe(entry: ModelEntry) -> dict[str, Any]:
    match entry.weights:
        case BundledWeights(folder=folder):
            repository, num_parameters = None, folder.num_parameters()
            size_mb = folder.num_bytes() / BYTES_IN_MB
        case HubWeights(repository=repository, num_parameters=num_parameters, download_gb=download_gb):
            size_mb = download_gb * 1000
    return {
        "name": entry.name,
        "is_bundled": entry.is_bundled,
        "repository": repository,
        "num_parameters": num_parameters,
        "size_mb": round(size_mb, 2),
        "licence": entry.licence,
        "summary": entry.summary,
    }


def _info_rows(name: str, info: VideoInfo) -> list[tuple[str, str]]:
    rate = {True: " (variable)", False: " (constant)", None: ""}[info.is_variable_rate]
    duration = "unknown (live)" if info.duration_s is None else f"{float(info.duration_s):.2f} s"
    turned = f", turned by {info.rotation_deg} degrees" if info.rotation_deg else ""
    rows = [
        ("file", name),
        ("size", f"{info.width_px}x{info.height_px}{turned}"),
        ("frame rate", f"{float(info.fps):.3f} frames per second{rate}"),
        ("duration", duration + (f", about {info.num_frames} frames" if info.num_frames else "")),
        ("video", f"{info.codec}, {info.pixel_format}"),
        ("container", info.container),
    ]
    for track in info.audio:
        language = f", {track.language}" if track.language else ""
        rows.append(
            ("sound", f"{track.codec}, {track.num_channels} channels, {track.sample_rate_hz} Hz{language}")
        )
    return rows if info.audio else [*rows, ("sound", "none")]


def _plain(value: Any) -> Any:
    """Fractions as decimal numbers, so that JSON can hold them."""
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
