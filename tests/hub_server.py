"""A small server on loopback that speaks as much of the Hugging Face Hub's API as a download needs, and counts what it sends."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 1 << 14


@dataclass
class Hub:
    """repos: folders by name. token: what the private and gated ones want; tokens: the headers that came.

    sent: bytes of files by path, without the small ones that a listing reads; drop_after: the connection is cut after so many
    bytes of a file, once for each number; pause_s: between two blocks; ignores_ranges: files are sent from their beginning;
    damaged: their last byte is wrong; answers: an error status for everything; busy: so many requests are turned away first.
    """

    repos: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    token: str = "hf_good"
    tokens: list[str | None] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    drop_after: list[int] = field(default_factory=list)
    pause_s: float = 0.0
    ignores_ranges: bool = False
    damaged: bool = False
    answers: int = 0
    busy: int = 0
    commit: str = COMMIT
    url: str = ""

    @property
    def bytes_sent(self) -> int:
        return sum(self.sent.values())

    def environment(self, home: Path) -> dict[str, str]:
        """For a process that uses it. home: HF_HOME."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextlib.contextmanager
def running(repos: dict[str, Path]) -> Iterator[Hub]:
    """The server, until the block ends."""
    hub = Hub(repos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    server.block_on_close = False
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="pytest hub", daemon=True
    )
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def siblings(folder: Path) -> list[dict[str, Any]]:
    out = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        one = {"rfilename": path.relative_to(folder).as_posix(), "size": len(content), "blobId": git_name(content)}
        if path.suffix in (".safetensors", ".bin", ".ckpt"):
            one["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        out.append(one)
    return out


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(path)
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.answers:
            return self._say(self.hub.answers, {}, b"no")
        if path.startswith("/api/models/"):
            name = "/".join(path.split("/")[3:5])
            return self._about(name)
        name, _, rest = path[1:].partition("/resolve/")
        commit, _, file = rest.partition("/")
        if self.hub.busy and file.endswith(".safetensors"):
            self.hub.busy -= 1
            return self._say(503, {}, b"")
        if (status := self._refusal(name)) is not None:
            return self._say(*status, b"")
        if name in self.hub.gated and not self._has_token():
            return self._say(401, {"X-Error-Code": "GatedRepo"}, b"")
        where = self.hub.repos[name] / file
        if commit not in (self.hub.commit, "main") or not where.is_file():
            return self._say(404, {"X-Error-Code": "EntryNotFound"}, b"")
        return self._file(file, where.read_bytes(), with_body)

    def _about(self, name: str) -> None:
        if (status := self._refusal(name)) is not None:
            return self._say(*status, b"{}")
        files = siblings(self.hub.repos[name])
        body = {
            "id": name, "sha": self.hub.commit, "private": name in self.hub.private, "siblings": files,
            "gated": "auto" if name in self.hub.gated else False, "tags": ["diffusers", "license:creativeml-openrail-m"],
        }  # fmt: skip
        return self._say(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _refusal(self, name: str) -> tuple[int, dict[str, str]] | None:
        sent = self.headers.get("Authorization")
        if sent == "Bearer hf_weak":
            return 403, {}
        if name not in self.hub.repos or (name in self.hub.private and not self._has_token()):
            return (404 if sent else 401), {"X-Error-Code": "RepoNotFound"}
        return None

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, path: str, content: bytes, with_body: bool) -> None:
        wanted = self.headers.get("Range")
        first, last = 0, len(content) - 1
        if wanted and not self.hub.ignores_ranges:
            low, high = wanted.removeprefix("bytes=").split("-")
            first, last = int(low), min(int(high or last), last)
        if self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(206 if wanted and not self.hub.ignores_ranges else 200)
        self.send_header("ETag", f'"{git_name(content)}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if with_body:
            self._send(path, content[first : last + 1])

    def _send(self, path: str, content: bytes) -> None:
        limit = self.hub.drop_after.pop(0) if self.hub.drop_after and len(content) > self.hub.drop_after[0] else None
        for start in range(0, len(content), BLOCK):
            block = content[start : start + BLOCK]
            if limit is not None and start + len(block) > limit:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            try:
                self.wfile.write(block)
            except OSError:  # the other side has gone, as it may
                self.close_connection = True
                return
            self.hub.sent[path] = self.hub.sent.get(path, 0) + len(block)
            if self.hub.pause_s:
                time.sleep(self.hub.pause_s)
