"""What a pulled model's folder holds and where it came from, as a record beside the weights."""

from dataclasses import dataclass
from pathlib import Path

from vivace.core.config import read_config, write_config
from vivace.core.errors import ConfigError

RECORD_NAME = "pulled.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PulledFile:
    """An official file that a model was made from."""

    repository: str
    revision: str
    path: str
    num_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file of the model's folder; `path` is relative to it."""

    path: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRecord:
    """A finished pull: name of the model, licences by repository, what was fetched, what was written."""

    name: str
    licences: tuple[str, ...]
    sources: tuple[PulledFile, ...]
    files: tuple[StoredFile, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of the model's files."""
        return sum(file.num_bytes for file in self.files)


def models_folder(home: Path) -> Path:
    """Where pulled models lie, one folder each."""
    return home / "models"


def pulled_folder(home: Path, name: str) -> Path:
    """Where a pulled model lies."""
    return models_folder(home) / name


def write_record(record: PullRecord, folder: Path) -> None:
    """Say that the folder is complete; written last."""
    write_config(record, folder / RECORD_NAME)


def read_record(folder: Path) -> PullRecord | None:
    """The record of a complete folder; None if it was never finished, or files are missing or cut off."""
    if not (folder / RECORD_NAME).is_file():
        return None
    try:
        record = read_config(PullRecord, folder / RECORD_NAME)
    except ConfigError:
        return None
    for file in record.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.num_bytes:
            return None
    return record


def stored_files(folder: Path) -> tuple[StoredFile, ...]:
    """All files of a folder, sorted, but for the record."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD_NAME)
    return tuple(
        StoredFile(path=path.relative_to(folder).as_posix(), num_bytes=path.stat().st_size) for path in paths
    )
