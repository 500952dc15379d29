"""A model hub on loopback with the answers, headers and refusals of the real one, and faults on demand."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 10_000


@dataclass
class Repository:
    files: dict[str, bytes]
    licence: str | None = None
    is_gated: bool = False


@dataclass
class FakeHub:
    """Repositories by name. Faults are kept by file name and hold until they are taken out."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    # bytes of a body after which the connection breaks
    broken_after: dict[str, int] = field(default_factory=dict)
    # wrong content under the right digest
    replaced: dict[str, bytes] = field(default_factory=dict)
    # answers instead of a file
    statuses: dict[str, int] = field(default_factory=dict)
    ignores_ranges: bool = False
    # (name, first byte, bytes sent) of every body
    served: list[tuple[str, int, int]] = field(default_factory=list)

    def bytes_served(self, name: str) -> int:
        return sum(size for served, _, size in self.served if served == name)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        words = path.strip("/").split("/")
        if words[:2] == ["api", "models"]:
            self._list("/".join(words[2:4]))
        elif words[0] == "cdn":
            self._file("/".join(words[1:3]), "/".join(words[3:]), with_body=with_body)
        elif words[2:4] == ["resolve", COMMIT]:
            self._resolve("/".join(words[:2]), "/".join(words[4:]), with_body=with_body)
        else:
            self._refuse(404, "RevisionNotFound")

    def _list(self, name: str) -> None:
        found = self.state.repositories.get(name)
        if found is None:
            # as the real one: whether it exists is not told to strangers
            self._refuse(401, "RepoNotFound")
            return
        siblings = []
        for path, content in found.files.items():
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": _git_sha1(content)}
            if _is_large(content):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        card = None if found.licence is None else {"license": found.licence}
        self._send(
            json.dumps(
                {
                    "id": name,
                    "modelId": name,
                    "sha": COMMIT,
                    "private": False,
                    "siblings": siblings,
                    "tags": [],
                    "downloads": 0,
                    "cardData": card,
                }
            ).encode()
        )

    def _resolve(self, name: str, path: str, *, with_body: bool) -> None:
        found = self.state.repositories.get(name)
        if found is None:
            self._refuse(401, "RepoNotFound")
        elif found.is_gated:
            self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        elif path not in found.files:
            self._refuse(404, "EntryNotFound")
        elif path in self.state.statuses:
            self._refuse(self.state.statuses[path], None)
        elif _is_large(found.files[path]):
            content = found.files[path]
            self.send_response(302)
            self.send_header("Location", f"{self.state.endpoint}/cdn/{name}/{path}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._file(name, path, with_body=with_body)

    def _file(self, name: str, path: str, *, with_body: bool) -> None:
        content = self.state.repositories[name].files[path]
        etag, content = _git_sha1(content), self.state.replaced.get(path, content)
        start = 0
        asked = self.headers.get("Range")
        if asked is not None and not self.state.ignores_ranges:
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        stop = min(len(content), start + self.state.broken_after.get(path, len(content)))
        self.wfile.write(content[start:stop])
        self.state.served.append((path, start, stop - start))
        if stop < len(content):
            self.close_connection = True

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_large(content: bytes) -> bool:
    return len(content) >= LARGE_BYTES
