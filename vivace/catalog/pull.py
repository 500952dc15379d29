"""Pulls a model: fetches official files, converts them once, and puts the folder in place in one step."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vivace.catalog.convert import convert_dit, convert_ltx2_vae
from vivace.catalog.entries import BundledWeights, HubWeights, ModelEntry
from vivace.catalog.hub_files import Hub, HubFile, PartListing, disk_full, num_missing_bytes
from vivace.catalog.model_folder import DEFAULTS_NAME
from vivace.catalog.pulled import (
    PulledFile,
    PullRecord,
    models_folder,
    pulled_folder,
    read_record,
    stored_files,
    write_record,
)
from vivace.core.config import write_config
from vivace.core.errors import InputError
from vivace.models.gemma_prompts import SPEC_NAME as PROMPT_SPEC_NAME

GB = 1e9
# room for file system and logs that stays free
SPARE_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PullPlan:
    """What a pull will do.

    Attributes:
        folder: Where the model will lie.
        store: Where files lie until they are whole; shared parts stay there.
        licences: A line for each repository: what its card names, and where it stands.
        parts: Files of the transformer, the VAE and the text encoder.
        num_bytes: Of all files.
        num_missing_bytes: What is still to be fetched.
    """

    folder: Path
    store: Path
    licences: tuple[str, ...]
    parts: tuple[tuple[HubFile, ...], ...]
    num_bytes: int
    num_missing_bytes: int


class PullWatcher(Protocol):
    """Is told how a pull goes."""

    def begins(self, plan: PullPlan) -> None:
        """Before the first file is fetched."""
        ...

    def advances(self, num_bytes: int) -> None:
        """So many more bytes are there; fewer than none where a server began anew."""
        ...

    def works_on(self, stage: str) -> None:
        """Something without bytes to count is going on."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PullOutcome:
    """A model that is there: its folder and record, and whether it was there before."""

    folder: Path
    record: PullRecord
    was_there: bool


def pull(entry: ModelEntry, home: Path, watcher: PullWatcher, *, endpoint: str | None = None) -> PullOutcome:
    """Fetch and convert a model, or find it there.

    Interrupted at any moment, it leaves no half model, and a later call goes on with the bytes that came.

    Args:
        entry: The model.
        home: `VIVACE_HOME`.
        watcher: Is told how it goes.
        endpoint: Address of the hub; None is huggingface_hub's own.

    Raises:
        InputError: If the model is bundled, a file is not there or not allowed, the hub cannot be reached,
            the disk is too small, or another process pulls the same model.
        WeightsError: If a checkpoint is damaged or belongs to another model.
    """
    if isinstance(entry.weights, BundledWeights):
        raise InputError(f"{entry.name} is bundled; there is nothing to pull")
    folder = pulled_folder(home, entry.name)
    if (record := read_record(folder)) is not None:
        return PullOutcome(folder=folder, record=record, was_there=True)
    hub = Hub(endpoint)
    with _writing(home), _alone(home):
        plan = _plan(entry.weights, hub, folder, home / "downloads")
        _check_room(plan, home)
        watcher.begins(plan)
        blobs = [[hub.fetch(file, plan.store, watcher.advances) for file in part] for part in plan.parts]
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            record = _write(entry.name, entry.weights, plan, blobs, part, watcher)
            watcher.works_on("putting it in place")
            _sync(part)
            # whatever lies there is not whole, or it would have been found above
            shutil.rmtree(folder, ignore_errors=True)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _sync_folder(folder.parent)
        for blob in (*blobs[0], *blobs[1]):
            # their content lies in the folder under our names now
            blob.unlink(missing_ok=True)
    return PullOutcome(folder=folder, record=record, was_there=False)


def _plan(weights: HubWeights, hub: Hub, folder: Path, store: Path) -> PullPlan:
    listings = [hub.list_part(part) for part in weights.parts]
    listings[1] = PartListing(licence=listings[1].licence, files=_one_format(listings[1].files))
    for listing in listings:
        # a gated repository lists its files, so ask before gigabytes of another one are fetched
        if any(num_missing_bytes(file, store) for file in listing.files):
            hub.check_access(listing.files[0])
    files = [file for listing in listings for file in listing.files]
    licences = {
        part.repository: f"{part.repository}: {each.licence or 'see its card'} ({hub.card(part.repository)})"
        for part, each in zip(weights.parts, listings)
    }
    return PullPlan(
        folder=folder,
        store=store,
        licences=tuple(licences.values()),
        parts=tuple(listing.files for listing in listings),
        num_bytes=sum(file.num_bytes for file in files),
        num_missing_bytes=sum(num_missing_bytes(file, store) for file in files),
    )


def _one_format(files: tuple[HubFile, ...]) -> tuple[HubFile, ...]:
    """Safetensors where a repository offers the same weights in several formats."""
    safe = tuple(file for file in files if file.name.endswith(".safetensors"))
    return safe or files


def _check_room(plan: PullPlan, home: Path) -> None:
    to_convert = sum(file.num_bytes for part in plan.parts[:2] for file in part)
    needed = plan.num_missing_bytes + to_convert + SPARE_BYTES
    free = shutil.disk_usage(home).free
    if free < needed:
        raise InputError(
            f"{plan.folder.name} needs {needed / GB:.1f} GB of free disk space "
            f"({plan.num_missing_bytes / GB:.1f} to fetch, {to_convert / GB:.1f} to convert), but {home} has "
            f"{free / GB:.1f} GB; free some space, or set VIVACE_HOME to a larger disk"
        )


def _write(
    name: str,
    weights: HubWeights,
    plan: PullPlan,
    blobs: list[list[Path]],
    folder: Path,
    watcher: PullWatcher,
) -> PullRecord:
    dit, vae, text = blobs
    watcher.works_on("converting the diffusion transformer")
    convert_dit(dit[0], weights.dit_spec, folder / "dit", source=_title(plan.parts[0]))
    watcher.works_on("converting the video VAE")
    convert_ltx2_vae(vae, weights.vae_spec, folder / "video_vae", source=_title(plan.parts[1]))
    prompts = folder / "prompt_encoder"
    prompts.mkdir()
    for file, blob in zip(plan.parts[2], text):
        _link(blob, prompts / file.name)
    write_config(weights.prompt_spec, prompts / PROMPT_SPEC_NAME)
    write_config(weights.defaults, folder / DEFAULTS_NAME)
    sources = tuple(
        PulledFile(
            repository=file.repository,
            revision=file.revision,
            path=file.path,
            num_bytes=file.num_bytes,
            digest=file.digest,
        )
        for part in plan.parts
        for file in part
    )
    record = PullRecord(name=name, licences=plan.licences, sources=sources, files=stored_files(folder))
    write_record(record, folder)
    return record


def _title(part: tuple[HubFile, ...]) -> str:
    first, *others = part
    more = f" and {len(others)} more files" if others else ""
    return f"{first.repository}/{first.path}{more}"


def _link(blob: Path, target: Path) -> None:
    """The same bytes under a second name, so that models share them; a copy where a disk cannot do that."""
    try:
        os.link(blob, target)
    except OSError:
        shutil.copyfile(blob, target)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Only one process pulls at a time: models share files."""
    from filelock import FileLock, Timeout

    models_folder(home).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home / "pull.lock", timeout=0):
            yield
    except Timeout:
        raise InputError("another process is pulling a model at the moment; wait until it is done") from None


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(str(error.filename or home)) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise InputError(
                f"cannot write to {error.filename or home} ({error.strerror}); set VIVACE_HOME to a folder "
                "that you may write to"
            ) from None
        raise


def _sync(folder: Path) -> None:
    """Make sure that the disk has everything, so that a power cut leaves either all of it or nothing."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
