"""A download over real HTTP of this machine's own."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from densebench.files.addresses import UnsafeRedirectError
from densebench.files.download import Network, UnreachableError, download, free_bytes
from densebench.files.wanted import Wanted
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

BODY = bytes(range(256)) * 400


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives BODY, in ranges; the first `cuts` answers break off in the middle."""

    cuts = 0
    asked: list[str] = []  # noqa: RUF012 - of the class, since each request makes a handler

    def do_GET(self) -> None:
        span = self.headers.get("Range", "bytes=0-")
        self.asked.append(span)
        start = int(span.removeprefix("bytes=").rstrip("-"))
        rest = BODY[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", '"one"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        if len(self.asked) <= type(self).cuts:
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Handler, "asked", [])
    monkeypatch.setattr(Handler, "cuts", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


PATIENT = Network(timeout=5, tries=3, first_pause=0, sleep=lambda seconds: None)


def wanted(body: bytes = BODY) -> Wanted:
    return Wanted(size=len(BODY), checksum=f"sha256:{hashlib.sha256(body).hexdigest()}")


def test_whole_and_verified(address: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    assert download(address, target, wanted(), Watcher(), PATIENT) == target
    assert target.read_bytes() == BODY
    download(address, target, wanted(), Watcher(), PATIENT)
    assert len(Handler.asked) == 1  # what is there and right is not fetched again


def test_it_goes_on_where_it_broke_off(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "cuts", 2)
    download(address, tmp_path / "file", wanted(), Watcher(), PATIENT)
    assert (tmp_path / "file").read_bytes() == BODY
    starts = [int(span.removeprefix("bytes=").rstrip("-")) for span in Handler.asked]
    assert starts == [0, len(BODY) // 2, len(BODY) - len(BODY) // 4]


def test_another_content_is_not_kept(address: str, tmp_path: Path) -> None:
    with pytest.raises(DensebenchError):
        download(address, tmp_path / "file", wanted(b"other"), Watcher(), PATIENT)
    assert not (tmp_path / "file").exists()


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        download("http://127.0.0.1:9/file", tmp_path / "file", wanted(), Watcher(), PATIENT)
    assert caught.value.reason


def test_another_way_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise UnsafeRedirectError("redirected from https to http://h.org")

    monkeypatch.setattr("densebench.files.download.open_address", refuse)
    waits: list[float] = []
    network = Network(sleep=waits.append)
    with pytest.raises(UnreachableError, match="redirected from https"):
        download("https://h.org/file", tmp_path / "file", wanted(), Watcher(), network)
    assert not waits


def test_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0
