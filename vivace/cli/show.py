"""`vivace models` and `vivace info`: what there is, without editing anything."""

import dataclasses
import json
from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.table import Table

from vivace.catalog.entries import MODELS, BundledWeights, HubWeights, ModelEntry
from vivace.catalog.pulled import pulled_folder, read_record
from vivace.cli.arguments import InfoArguments, ModelsArguments
from vivace.core.config import Environment
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
        if model["is_bundled"]:
            source = "bundled"
        elif model["folder"] is not None:
            source = f"pulled to {model['folder']}"
        else:
            source = f"pullable from {model['repository']}"
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


def _describe(entry: ModelEntry) -> dict[str, Any]:
    match entry.weights:
        case BundledWeights(folder=folder):
            repository, num_parameters, pulled = None, folder.num_parameters(), None
            size_mb = folder.num_bytes() / BYTES_IN_MB
        case HubWeights(repository=repository, num_parameters=num_parameters, download_gb=download_gb):
            size_mb = download_gb * 1000
            there = pulled_folder(Environment.read().home, entry.name)
            pulled = None if read_record(there) is None else str(there)
    return {
        "name": entry.name,
        "is_bundled": entry.is_bundled,
        "repository": repository,
        "folder": pulled,
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
