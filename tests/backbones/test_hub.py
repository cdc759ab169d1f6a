"""Weights from a loopback server that answers as the hub does, and from an address on it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

from densebench.backbones import hub, load_backbone
from densebench.cards import BackboneCard
from densebench.errors import DensebenchError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(ThreadingHTTPServer):
    """Files by path, and the requests that were made."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut = 0
        self.requests: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        if self.path == "/count":
            self.server.files["/count"] = str(len(self.server.requests)).encode()
        else:
            self.server.requests.append(f"{self.command} {self.path}")
        if "gone" in self.path:
            return  # as a server that breaks down
        body = self.server.files.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture(scope="module")
def weights() -> bytes:
    torch.manual_seed(0)
    return save(timm.create_model("test_vit", num_classes=0).state_dict())


HUB_SCRIPT = """
import json, os, sys
from urllib.request import urlopen
from densebench.backbones import card_for, hub, load_backbone
from densebench.errors import DensebenchError

def attempt(card, step):
    if step == "requests":
        return int(urlopen(os.environ["HF_ENDPOINT"] + "/count").read())
    if step == "cached":
        path = hub.cached(card_for(card))
        return None if path is None else path.name
    os.environ["HF_HUB_OFFLINE"] = "1" if step == "variable" else ""
    try:
        return load_backbone(card, offline=step == "offline").fingerprint
    except DensebenchError as error:
        return str(error)

print(json.dumps([attempt(*step) for step in json.loads(sys.argv[1])]))
"""
STEPS = ["cached", "offline", "requests", "online", "cached", "requests", "online", "offline"]
STEPS += ["variable", "requests"]


def test_the_hub(
    server: Server, weights: bytes, write_card: Callable[..., Path], tmp_path: Path
) -> None:
    """All in one process, because the hub's address is read once, at import."""
    pickled = tmp_path / "pytorch_model.bin"
    torch.save(timm.create_model("test_vit").state_dict(), pickled)
    server.files["/someone/new/resolve/main/model.safetensors"] = weights
    server.files["/someone/old/resolve/v1/pytorch_model.bin"] = pickled.read_bytes()
    (tmp_path / "plain.safetensors").write_bytes(weights)
    file = "model.safetensors"
    new = write_card("new", weights={"repo": "someone/new", "file": file})
    old = write_card("old", weights={"repo": "someone/old", "file": file, "revision": "v1"})
    none = write_card("none", weights={"repo": "someone/none", "file": file})
    gone = write_card("gone", weights={"repo": "someone/gone", "file": file})
    steps = [(str(new), step) for step in STEPS]
    steps += [(str(old), "online"), (str(old), "cached"), (str(none), "online")]
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, json.dumps([*steps, (str(gone), "online")])],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "HF_ENDPOINT": server.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        },
    )
    answers = json.loads(done.stdout)
    before, refusal, asked, fetched, name, asked_then, *again, asked_last = answers[: len(STEPS)]
    assert before is None and asked == 0
    assert refusal.startswith(f"{new}: no weights (the network is switched off): someone/new/")
    assert f"`densebench weights fetch {new}`" in refusal and "--weights FILE" in refusal
    assert fetched == load_backbone(new, weights=tmp_path / "plain.safetensors").fingerprint
    assert name == file
    assert again == [fetched] * 3 and asked_last == asked_then > 0
    from_pickle, pickle_name, no_file, no_hub = answers[len(STEPS) :]
    assert from_pickle == load_backbone(old, weights=pickled).fingerprint
    assert pickle_name == "pytorch_model.bin"
    assert "no weights (no such file in the repository)" in no_file
    assert no_hub.startswith(f"{gone}: no weights (") and "\n" not in no_hub


@pytest.fixture
def url_card(
    server: Server,
    make_card: Callable[..., BackboneCard],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., BackboneCard]:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return lambda **more: make_card(weights={"url": f"{server.address}/dir/tiny.pth", **more})


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_address_is_downloaded_once(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    card = url_card(sha256=hashlib.sha256(b"weights").hexdigest())
    assert hub.cached(card) is None
    path = hub.fetch(card)
    assert path == tmp_path / "cache/weights/127.0.0.1/dir/tiny.pth"
    assert path.read_bytes() == b"weights"
    assert hub.cached(card) == hub.fetch(card, offline=True) == hub.fetch(card) == path
    assert server.requests == ["GET /dir/tiny.pth"]
    assert kept(tmp_path) == [path]


def test_a_download_that_breaks_off_leaves_nothing(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"], server.cut = b"x" * 100, 30
    with pytest.raises(DensebenchError, match="broke off after 70 of 100 bytes"):
        hub.fetch(url_card())
    assert kept(tmp_path) == []


def test_a_file_with_another_hash_is_refused(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    with pytest.raises(DensebenchError, match="SHA-256 of the download is not the card's"):
        hub.fetch(url_card(sha256="0" * 64))
    assert kept(tmp_path) == []
    path = hub.fetch(url_card())
    with pytest.raises(DensebenchError, match=r"tiny.pth: its SHA-256 is not .* delete the file"):
        hub.fetch(url_card(sha256="0" * 64))
    assert path.is_file()


@pytest.mark.parametrize("variable", ["", "1", "true"])
def test_without_a_network_the_address_is_named(
    server: Server,
    url_card: Callable[..., BackboneCard],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    with pytest.raises(DensebenchError) as caught:
        hub.fetch(url_card(), offline=not variable)
    message = str(caught.value)
    assert message.startswith("tiny: no weights (the network is switched off): http://127.0.0.1")
    assert "`densebench weights fetch tiny`" in message and "--weights FILE" in message
    assert server.requests == []


def test_errors_of_the_network_are_one_line(url_card: Callable[..., BackboneCard]) -> None:
    with pytest.raises(DensebenchError, match=r"no weights \(HTTPError: HTTP Error 404"):
        hub.fetch(url_card())
    with pytest.raises(DensebenchError, match=r"no weights \(URLError: .*refused"):
        hub.fetch(url_card(url="http://127.0.0.1:9/tiny.pth"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "tiny.pth", "http:///x"])
def test_only_web_addresses_are_fetched(make_card: Callable[..., BackboneCard], url: str) -> None:
    with pytest.raises(DensebenchError, match="only http and https"):
        hub.fetch(make_card(weights={"url": url}))


def test_an_address_cannot_leave_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path))
    path = hub.url_path("https://host/../../a%2f..%2f/./b.pth?x=1")
    assert path.is_relative_to(tmp_path / "weights" / "host")
    assert path.resolve() == path


def test_a_card_without_weights(make_card: Callable[..., BackboneCard]) -> None:
    for ask in (hub.fetch, hub.cached):
        with pytest.raises(DensebenchError, match="card tiny names no official weights"):
            ask(make_card())
