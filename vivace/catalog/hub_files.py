"""Files of hub repositories: lists them, fetches them with resume, checks them; knows no models."""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from vivace.core.errors import InputError

BLOCK_BYTES = 1 << 20
SHA256_DIGITS = 64
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HubPart:
    """Files of a hub repository: those directly in `folder` ("" is the root) that fit one of `patterns`."""

    repository: str
    folder: str
    patterns: tuple[str, ...]

    def holds(self, path: str) -> bool:
        """Whether a path inside the repository belongs to this part."""
        parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        return parent == (self.folder or ".") and any(fnmatchcase(name, one) for one in self.patterns)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository at one revision; `digest` is sha256, or git's sha1 for small files."""

    repository: str
    revision: str
    path: str
    num_bytes: int
    digest: str

    @property
    def name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, kw_only=True, slots=True)
class PartListing:
    """What a hub says about a part: its files, and the licence on the repository's card, if it names one."""

    licence: str | None
    files: tuple[HubFile, ...]


class Hub:
    """A hub of model repositories. `endpoint` None is the one that huggingface_hub is set up for.

    Raises:
        InputError: If huggingface_hub is not installed.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        try:
            from huggingface_hub import constants
        except ModuleNotFoundError:
            raise InputError(
                "pulling needs the package huggingface_hub, which is not installed; "
                "install it with: pip install 'vivace[sana]'"
            ) from None
        self.endpoint = endpoint or constants.ENDPOINT
        # the user's token (None: if there is one) never travels in the clear
        self._token = None if self.endpoint.startswith("https://") else False

    def card(self, repository: str) -> str:
        """Address of a repository's card, where its licence stands."""
        return f"{self.endpoint}/{repository}"

    def list_part(self, part: HubPart) -> PartListing:
        """The files of a part in the newest revision.

        Raises:
            InputError: If repository or files are not there, not allowed, or the hub cannot be reached.
        """
        from huggingface_hub import HfApi

        with self._sentences(part.repository):
            info = HfApi(endpoint=self.endpoint, token=self._token).model_info(
                part.repository, files_metadata=True
            )
        files = []
        for entry in info.siblings or ():
            digest = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
            if not part.holds(entry.rfilename):
                continue
            # the digest becomes a file name, so nothing but hexadecimal digits may pass
            if not _DIGEST.fullmatch(digest or "") or entry.size is None or info.sha is None:
                raise InputError(
                    f"{self.endpoint} does not say how {entry.rfilename} of {part.repository} can be "
                    "checked; ask another hub"
                )
            files.append(
                HubFile(
                    repository=part.repository,
                    revision=info.sha,
                    path=entry.rfilename,
                    num_bytes=entry.size,
                    digest=cast(str, digest),
                )
            )
        if not files:
            wanted = ", ".join(str(PurePosixPath(part.folder) / pattern) for pattern in part.patterns)
            raise InputError(
                f"{part.repository} has no file {wanted}; its owners may have moved it, so look for a newer "
                "version of vivace"
            )
        licence = None if info.card_data is None else info.card_data.get("license")
        return PartListing(licence=None if licence is None else str(licence), files=tuple(files))

    def check_access(self, file: HubFile) -> None:
        """Ask for a file without fetching it.

        Raises:
            InputError: If it is not there, not allowed, or the hub cannot be reached.
        """
        from huggingface_hub import get_hf_file_metadata

        with self._sentences(file.repository, file.path):
            get_hf_file_metadata(self._address(file), token=self._token, endpoint=self.endpoint)

    def fetch(self, file: HubFile, store: Path, advance: Callable[[int], None]) -> Path:
        """Bring a file into `store`, under the name of its digest, and return where it is.

        What an earlier attempt left is used. `advance` learns of every byte, those that were there included.

        Raises:
            InputError: As `check_access`; also if the disk is full or the file arrives damaged.
        """
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        target, part = store / file.digest, _part(store, file)
        if target.is_file():
            advance(file.num_bytes)
            return target
        store.mkdir(parents=True, exist_ok=True)
        part.touch()
        with self._sentences(file.repository, file.path), part.open("r+b") as out:
            num_kept = out.seek(0, os.SEEK_END)
            if num_kept > file.num_bytes:
                num_kept = out.seek(0)
                out.truncate()
            advance(num_kept)
            # the library's own download throws an unfinished file away; this is what it is made of
            with _quiet():
                http_get(
                    self._address(file),
                    cast(BinaryIO, _Counted(out, advance)),
                    resume_size=num_kept,
                    headers=build_hf_headers(token=self._token, library_name="vivace"),
                    expected_size=file.num_bytes,
                    displayed_filename=file.name,
                )
            out.flush()
            os.fsync(out.fileno())
        found = digest_of(part, is_sha256=len(file.digest) == SHA256_DIGITS)
        if found != file.digest:
            part.unlink()
            raise InputError(
                f"{file.path} of {file.repository} arrived damaged (digest {found[:12]}, expected "
                f"{file.digest[:12]}) and was removed; pull again"
            )
        part.replace(target)
        return target

    def _address(self, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=self.endpoint)

    @contextmanager
    def _sentences(self, repository: str, path: str | None = None) -> Iterator[None]:
        """Turn what goes wrong on the way into one sentence that says what to do."""
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of httpx or httpx2, as the library has it
            RepositoryNotFoundError,
        )

        try:
            yield
        except GatedRepoError:
            raise self._gated(repository) from None
        except RepositoryNotFoundError:
            raise InputError(
                f"there is no repository {repository} at {self.endpoint}, or it is private; if you have "
                "access, log in with: hf auth login"
            ) from None
        except EntryNotFoundError:
            raise InputError(
                f"{repository} has no file {path}; its owners may have moved it, so look for a newer version "
                "of vivace"
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise self._gated(repository) from None
            raise InputError(
                f"{self.endpoint} answered {status} when asked for {path or repository}; what was fetched is "
                "kept, so pull again later"
            ) from None
        except (HTTPError, ConnectionError) as error:
            raise InputError(
                f"cannot reach {self.endpoint} ({_reason(error)}); check the network and pull again: what "
                "was fetched is kept"
            ) from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise disk_full(path or repository) from None
            if error.errno is not None:
                raise
            # the library says so where the number of bytes is wrong
            raise InputError(
                f"{path or repository} could not be fetched whole ({_reason(error)}); what was fetched is "
                "kept, so pull again"
            ) from None

    def _gated(self, repository: str) -> InputError:
        return InputError(
            f"{repository} is gated: accept its licence at {self.card(repository)}, log in with "
            "`hf auth login`, and pull again"
        )


def disk_full(what: str) -> InputError:
    """The sentence for a disk without room."""
    return InputError(
        f"the disk became full while writing {what}; free some space, or set VIVACE_HOME to a larger disk, "
        "and pull again"
    )


def num_missing_bytes(file: HubFile, store: Path) -> int:
    """What is still to be fetched of a file."""
    if (store / file.digest).is_file():
        return 0
    part = _part(store, file)
    kept = part.stat().st_size if part.is_file() else 0
    return file.num_bytes - (kept if kept <= file.num_bytes else 0)


def digest_of(path: Path, *, is_sha256: bool) -> str:
    """The sha256 of a file, or the sha1 that git gives its content."""
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
    if not is_sha256:
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class _Counted:
    """A file that reports what is written."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance

    def write(self, block: bytes) -> int:
        written = self._file.write(block)
        self._advance(written)
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self) -> int:
        # the server began anew, so what was there counts no longer
        before = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._advance(-before)
        return self._file.truncate()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own bars and retry notices away from the terminal."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    disable_progress_bars("huggingface_hub.http_get")
    try:
        yield
    finally:
        enable_progress_bars("huggingface_hub.http_get")
        hub_logging.set_verbosity(level)


def _part(store: Path, file: HubFile) -> Path:
    return store / f"{file.digest}.part"


def _reason(error: BaseException) -> str:
    """The first line of an error's words, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
