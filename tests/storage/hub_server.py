"""A server on this machine that behaves as the Hugging Face Hub does, as far as reading models goes.

Two ports, as two hosts: the Hub's own, with its interface, small files and redirects, and a store of large files, to
which the Hub redirects with a signature that the store wants to see.  What it answers follows the public interface
(``/api/models/NAME/revision/REV``, ``/api/models/NAME/tree/COMMIT``, ``/NAME/resolve/COMMIT/FILE``, ``X-Linked-ETag``,
``X-Linked-Size``, ``X-Error-Code``), as huggingface_hub 2.4 asks for it, and ModelScope's
(``/api/v1/models/NAME/repo/files`` and ``/api/v1/models/NAME/repo``), as modelscope_hub 0.5 does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_canary_0123456789"
SIGNATURE = "signature-canary-9876543210"
STALL = 0.3
"""Seconds that an answer stalls half way, which a client that waits less takes for the end of it."""
LARGE = (".safetensors", ".gguf")


@dataclass(frozen=True)
class Hollow:
    """A file too large to be there: it begins with some bytes, and all that follows is zero."""

    beginning: bytes
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self.size)
        known = self.beginning[start:stop]
        return known + bytes(max(0, stop - start) - len(known))


@dataclass
class Repository:
    """A model: its files, the commit they are at; who may read it."""

    files: Mapping[str, bytes | Hollow]
    commit: str = "c" * 40
    gated: bool = False
    private: bool = False


@dataclass(frozen=True)
class Request:
    """One that came.  ``host``: "hub" or "store"."""

    number: int
    host: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> tuple[int, int] | None:
        """First byte and the one after the last."""
        unit, _, text = self.headers.get("range", "").partition("=")
        first, _, last = text.partition("-")
        return (int(first), int(last) + 1) if unit == "bytes" else None


@dataclass
class HubServer:
    """What it serves, what came, and what is to go wrong.

    ``fault``: of a request, the name of what happens instead of an answer, or None.  ``sent``: bytes of files, by host.
    ``dead_after``: bytes after which the store sends nothing more; ``hanging``: answers that wait for ``release`` then.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=lambda: {"hub": 0, "store": 0})
    fault: Callable[[Request], str | None] = lambda _: None
    url: str = ""
    store: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    dead_after: int | None = None
    hanging: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, directory: Path, **kind: Any) -> Repository:
        """A repository with the files of a directory."""
        files = {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
        self.repositories[name] = Repository(files, **kind)
        return self.repositories[name]


class QuietServer(ThreadingHTTPServer):
    """A server for which a client that goes away is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[HubServer]:
    """A server with nothing in it."""
    hub = HubServer()
    servers = [QuietServer(("127.0.0.1", 0), handler(hub, host)) for host in ("hub", "store")]
    hub.url, hub.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.release.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def handler(hub: HubServer, host: str) -> type[BaseHTTPRequestHandler]:
    """What answers on one of the two ports."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a body waits for its headers to be acknowledged

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            headers = {k.lower(): v for k, v in self.headers.items()}
            with hub.lock:
                self.request_ = Request(len(hub.requests), host, self.path, headers)
                hub.requests.append(self.request_)
            self.fault = hub.fault(self.request_)
            if self.fault == "reset":
                self.close_connection = True
                return
            if self.fault in ("429", "503"):
                self.answer(int(self.fault), b"busy", {"Retry-After": "0"})
                return
            if self.fault in ("500", "403", "404"):
                self.answer(int(self.fault), b"oops")
                return
            if self.fault == "page":
                self.answer(200, b"<html>Please log in to this network", {"Content-Type": "text/html"})
                return
            try:
                (self.on_store if host == "store" else self.on_hub)(urlsplit(self.path).path)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def on_store(self, path: str) -> None:
            digest = path.strip("/")
            if SIGNATURE not in self.path or self.fault == "expired":
                self.answer(403, b"expired")
                return
            everything = [d for r in hub.repositories.values() for d in r.files.values()]
            data = next((d for d in everything if sha256(d) == digest), None)
            if data is None:
                self.answer(404, b"")
            else:
                self.file(data, f"store-{digest[:8]}")

        def on_hub(self, path: str) -> None:
            interface = path.startswith(("/api/models/", "/api/v1/models/"))
            words = unquote(path).removeprefix("/api/v1/models").removeprefix("/api/models").strip("/").split("/")
            name, what, rest = "/".join(words[:2]), words[2:3], words[3:]
            repository = hub.repositories.get(name)
            known = self.headers.get("authorization") == f"Bearer {TOKEN}"
            asked = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            if repository is None or (repository.private and not known):
                self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif interface and what == ["tree"]:
                self.answer(200, json.dumps([entry(n, d) for n, d in repository.files.items()]).encode())
            elif interface and what == ["repo"] and rest == ["files"]:
                listed = [listing(n, d, repository.commit) for n, d in repository.files.items()]
                self.answer(200, json.dumps({"Code": 200, "Data": {"Files": listed}}).encode())
            elif interface and what == ["repo"]:
                self.resolve(repository, asked["Revision"], asked["FilePath"])
            elif interface:
                self.describe(name, repository, rest[0] if rest else "main")
            elif repository.gated and not known:
                self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
            else:
                self.resolve(repository, rest[0], "/".join(rest[1:]))

        def describe(self, name: str, repository: Repository, revision: str) -> None:
            if revision not in ("main", repository.commit):
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            about = {"id": name, "sha": repository.commit, "siblings": [], "tags": [], "private": repository.private}
            self.answer(200, json.dumps(about).encode())

        def resolve(self, repository: Repository, commit: str, name: str) -> None:
            data = repository.files.get(name)
            if data is None or commit not in ("main", repository.commit):
                self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            elif name.endswith(LARGE):
                digest = sha256(data)
                linked = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": commit}
                if self.fault == "etag":
                    linked["X-Linked-ETag"] = '"another"'
                if self.fault == "size":
                    linked["X-Linked-Size"] = "1"
                self.answer(302, b"", {**linked, "Location": f"{hub.store}/{digest}?Signature={SIGNATURE}"})
            else:
                self.file(data, git_hash(data), {"X-Repo-Commit": commit})

        def file(self, data: bytes | Hollow, etag: str, more: dict[str, str] | None = None) -> None:
            """All of a file, or the part that is asked for."""
            if self.fault == "etag":
                etag = "another"
            if self.fault == "416":
                self.answer(416, b"", {"Content-Range": "bytes */1"})
                return
            wanted = None if self.fault == "200" else self.request_.range
            start, stop = wanted or (0, len(data))
            total = len(data) + (1 if self.fault == "size" else 0)
            headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **(more or {})}
            if self.fault == "packed":
                headers["Content-Encoding"] = "gzip"
            if wanted is not None:
                first = start + (self.fault == "shifted")
                headers["Content-Range"] = f"bytes {first}-{min(stop, len(data)) - 1}/{total}"
            self.answer(200 if wanted is None else 206, data[start:stop], headers)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if self.fault in ("short", "stall"):
                body = body[: len(body) // 2]
                self.close_connection = True
            for start in range(0, len(body), 1 << 16):
                piece = body[start : start + (1 << 16)]
                if status in (200, 206):
                    with hub.lock:
                        hub.sent[host] += len(piece)
                self.wfile.write(piece)
                if host == "store" and hub.dead_after is not None and hub.sent[host] >= hub.dead_after:
                    hub.hanging += 1
                    hub.release.wait()
                    self.close_connection = True
                    return
            if self.fault == "stall":
                time.sleep(STALL)

    return Handler


def entry(name: str, data: bytes | Hollow) -> dict[str, Any]:
    """A file as the Hub lists it."""
    about: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
    if name.endswith(LARGE):
        about["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return about


def listing(name: str, data: bytes | Hollow, commit: str) -> dict[str, Any]:
    """A file as ModelScope lists it."""
    return {"Type": "blob", "Path": name, "Size": len(data), "Revision": commit, "Sha256": sha256(data)}


def git_hash(data: bytes | Hollow) -> str:
    """What git calls these contents."""
    written = data.beginning if isinstance(data, Hollow) else data
    return hashlib.sha1(b"blob %d\0" % len(data) + written, usedforsecurity=False).hexdigest()


@functools.lru_cache(512)
def sha256(data: bytes | Hollow) -> str:
    """The digest of these contents; of a hollow file, one of its own."""
    return hashlib.sha256(data.beginning if isinstance(data, Hollow) else data).hexdigest()
