"""Weights from a loopback server that answers as the hub does, and from an address on it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

from densebench.backbones import load_backbone
from densebench.backbones.weights import hub, ledger
from densebench.cards import BackboneCard
from densebench.files.download import Network
from densebench.host.errors import DensebenchError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(ThreadingHTTPServer):
    """Files by path, and the requests that were made."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut = 0
        self.statuses: list[int] = []
        self.pause = 0.0
        self.commit = COMMIT
        self.requests: list[str] = []
        self.ranges: list[str | None] = []
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
        elif self.path == "/move":
            self.server.commit = "f" * 40
            for path in [path for path in self.server.files if "/main/" in path]:
                self.server.files[path] = b"moved on"
            self.server.files["/move"] = b""
        elif self.path == "/rewrite":
            self.server.commit = COMMIT
            for path in [path for path in self.server.files if COMMIT in path]:
                self.server.files[path] = b"rewritten"
            self.server.files["/rewrite"] = b""
        else:
            self.server.requests.append(f"{self.command} {self.path}")
        if "gone" in self.path:
            return  # as a server that breaks down
        body = self.server.files.get(self.path)
        if body is not None and self.server.statuses:
            self.send_response(self.server.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self.start(body) if with_body and body is not None else 0
        self.send_response(404 if body is None else 206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT if COMMIT in self.path else self.server.commit)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if with_body:
            self.send(body[start : len(body) - self.server.cut])

    def start(self, body: bytes) -> int:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        self.server.ranges.append(wanted)
        known = f'"{hashlib.sha256(body).hexdigest()}"'
        if wanted is None or condition not in (None, known):
            return 0
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def send(self, content: bytes) -> None:
        for start in range(0, len(content), 1 << 14):
            self.wfile.write(content[start : start + (1 << 14)])
            self.wfile.flush()
            time.sleep(self.server.pause)

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
from densebench.backbones import card_for, load_backbone
from densebench.backbones.weights import hub
from densebench.datasets import fingerprint
from densebench.files.download import Network
from densebench.host.errors import DensebenchError

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
        env=hub_environment(server, tmp_path),
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
    monkeypatch.setattr(hub, "NETWORK", Network(timeout=0.5, tries=2, first_pause=0.01))
    return lambda **more: make_card(weights={"url": f"{server.address}/dir/tiny.pth", **more})


MOVED_SCRIPT = """
import os, sys
from urllib.request import urlopen
from densebench.backbones import card_for
from densebench.backbones.weights import hub, ledger
from densebench.host.errors import DensebenchError

card, home = card_for(sys.argv[1]), sys.argv[2]
first = hub.fetch(card, name=sys.argv[1])
print(first, *[entry.commit for entry in ledger.entries().values()])
urlopen(os.environ["HF_ENDPOINT"] + "/move").read()
print(hub.fetch(card, name=sys.argv[1]))
os.rename(f"{home}/hub", f"{home}/away")
print(hub.fetch(card, name=sys.argv[1]))
os.rename(f"{home}/hub", f"{home}/again")
urlopen(os.environ["HF_ENDPOINT"] + "/rewrite").read()
try:
    hub.fetch(card, name=sys.argv[1])
except DensebenchError as error:
    print(error)
"""


def test_a_repository_stays_at_its_first_commit(
    server: Server, weights: bytes, write_card: Callable[..., Path], tmp_path: Path
) -> None:
    file = "sub/model.ckpt"
    card = write_card("moving", weights={"repo": "someone/moving", "file": file})
    server.files[f"/someone/moving/resolve/main/{file}"] = weights
    server.files[f"/someone/moving/resolve/{COMMIT}/{file}"] = weights
    done = subprocess.run(
        [sys.executable, "-c", MOVED_SCRIPT, card, tmp_path / "hf"],
        capture_output=True,
        text=True,
        check=True,
        env=hub_environment(server, tmp_path),
    )
    first, again, anew, refusal = done.stdout.splitlines()
    path, commit = first.split()
    assert commit == COMMIT and path.endswith(f"snapshots/{COMMIT}/{file}")
    assert path == again == anew
    assert f"/someone/moving/resolve/main/{file}" not in server.requests[-1]
    digest = hashlib.sha256(weights).hexdigest()
    other = hashlib.sha256(b"rewritten").hexdigest()
    assert f"its SHA-256 is {other}, but on 20" in refusal and f"was recorded {digest};" in refusal


def hub_environment(server: Server, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DENSEBENCH_CACHE": str(tmp_path / "cache"),
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }


def kept(tmp_path: Path) -> list[Path]:
    files = (path for path in (tmp_path / "cache/weights").rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix != ".lock")


def test_an_address_is_downloaded_once(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    card = url_card(sha256=hashlib.sha256(b"weights").hexdigest())
    assert hub.cached(card) is None
    path = hub.fetch(card)
    assert path.name == "tiny.pth"
    assert path.parents[1] == tmp_path / "cache/weights/127.0.0.1/dir"
    assert path.read_bytes() == b"weights"
    assert hub.cached(card) == hub.fetch(card, offline=True) == hub.fetch(card) == path
    assert server.requests == ["GET /dir/tiny.pth"]
    assert kept(tmp_path) == [path]


def test_a_download_that_breaks_off_goes_on(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"], server.cut = b"x" * 100, 30
    with pytest.raises(DensebenchError, match="broke off after 70 of 100 bytes; gave up after 2"):
        hub.fetch(url_card())
    assert [path.name for path in kept(tmp_path)] == ["tiny.pth.part", "tiny.pth.part.json"]
    server.cut = 0
    path = hub.fetch(url_card())
    assert path.read_bytes() == b"x" * 100 and kept(tmp_path) == [path]
    assert server.ranges == [None, "bytes=70-", "bytes=70-"]


def test_a_server_that_errs_at_first(server: Server, url_card: Callable[..., BackboneCard]) -> None:
    server.files["/dir/tiny.pth"], server.statuses = b"weights", [500]
    assert hub.fetch(url_card()).read_bytes() == b"weights"


KILLED_SCRIPT = """
import json, sys
from densebench.backbones.weights import hub
from densebench.cards import BackboneCard
hub.fetch(BackboneCard.model_validate_json(sys.argv[1]))
"""


def test_a_killed_download_goes_on(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    body = os.urandom(1 << 19)
    server.files["/dir/tiny.pth"], server.pause = body, 0.05
    card = url_card()
    command = [sys.executable, "-c", KILLED_SCRIPT, card.model_dump_json()]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = hub.url_path(str(card.weights.url)).with_name("tiny.pth.part")
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    there = part.stat().st_size
    assert 0 < there < len(body)
    server.pause = 0.0
    assert hub.fetch(card).read_bytes() == body
    assert server.ranges == [None, f"bytes={there}-"]


def test_a_file_with_another_hash_is_refused(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    actual, other = hashlib.sha256(b"weights").hexdigest(), "0" * 64
    with pytest.raises(DensebenchError, match=f"SHA256 is {actual}, but the card's is {other}; "):
        hub.fetch(url_card(sha256=other))
    assert kept(tmp_path) == []
    path = hub.fetch(url_card())
    with pytest.raises(DensebenchError) as caught:
        hub.fetch(url_card(sha256=other))
    assert str(caught.value) == (
        f"{path}: its SHA-256 is {actual}, but the card of tiny states {other}; "
        "delete the file and fetch it again, or correct the card"
    )
    assert path.is_file()


def test_the_first_hash_is_recorded_and_holds(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    path = hub.fetch(url_card())
    recorded = json.loads((tmp_path / "cache/weights.json").read_text())
    actual = hashlib.sha256(b"weights").hexdigest()
    assert recorded[f"{server.address}/dir/tiny.pth"]["sha256"] == actual
    path.write_bytes(b"changed")
    changed = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(DensebenchError, match=f"{path}: its SHA-256 is {changed}, but on 20.* was"):
        hub.fetch(url_card())
    path.unlink()
    server.files["/dir/tiny.pth"] = b"changed"
    with pytest.raises(DensebenchError) as caught:
        hub.fetch(url_card())
    message = str(caught.value)
    assert f"SHA256 is {changed}, but the recorded file's is {actual}" in message
    assert message.endswith(f"remove its entry from {tmp_path}/cache/weights.json")
    assert kept(tmp_path) == []


def test_weights_are_hashed_whenever_they_are_loaded(
    server: Server, url_card: Callable[..., BackboneCard]
) -> None:
    """Exchanged with size and date kept, which an index of hashes would not see."""
    server.files["/dir/tiny.pth"] = b"weights"
    for card in (url_card(sha256=hashlib.sha256(b"weights").hexdigest()), url_card()):
        path = hub.fetch(card)
        os.utime(path, (1_500_000_000, 1_500_000_000))
        assert hub.fetch(card) == path
        path.write_bytes(b"wEights")
        os.utime(path, (1_500_000_000, 1_500_000_000))
        with pytest.raises(DensebenchError, match="its SHA-256 is"):
            hub.fetch(card)
        path.unlink()


def test_addresses_that_differ_in_any_part_are_files_of_their_own(
    server: Server, url_card: Callable[..., BackboneCard], make_card: Callable[..., BackboneCard]
) -> None:
    """Another query on the same server, and another server at another port."""
    other = Server()
    thread = threading.Thread(target=other.serve_forever, daemon=True)
    thread.start()
    url_card()  # for its settings
    server.files |= {"/download?file=a": b"first", "/download?file=b": b"second"}
    other.files |= {"/download?file=b": b"third", "/download": b"fourth"}
    urls = {
        f"{server.address}/download?file=a": b"first",
        f"{server.address}/download?file=b": b"second",
        f"{other.address}/download?file=b": b"third",
        f"{other.address}/download": b"fourth",
    }
    try:
        for _ in range(2):
            for url, body in urls.items():
                assert hub.fetch(make_card(weights={"url": url})).read_bytes() == body
    finally:
        other.shutdown()
        other.server_close()
        thread.join()
    recorded = {source: entry.sha256 for source, entry in ledger.entries().items()}
    assert recorded == {url: hashlib.sha256(body).hexdigest() for url, body in urls.items()}
    secure = hub.url_path("https://host/download?file=a")
    assert secure != hub.url_path("http://host/download?file=a")


def test_a_file_at_the_place_of_an_older_version_is_not_used(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    """There it may be that of another query or port."""
    older = tmp_path / "cache/weights/127.0.0.1/dir/tiny.pth"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"of another address")
    server.files["/dir/tiny.pth"] = b"weights"
    assert hub.fetch(url_card()).read_bytes() == b"weights"


def test_a_damaged_record_is_told(
    server: Server, url_card: Callable[..., BackboneCard], tmp_path: Path
) -> None:
    server.files["/dir/tiny.pth"] = b"weights"
    hub.fetch(url_card())
    (tmp_path / "cache/weights.json").write_text("{")
    with pytest.raises(DensebenchError, match=r"weights\.json: not a readable record .* delete it"):
        hub.fetch(url_card())


def test_processes_record_side_by_side(url_card: Callable[..., BackboneCard]) -> None:
    url_card()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: ledger.record(f"source{i % 20}", f"{i:064x}", i, None), range(60)))
    entries = ledger.entries()
    assert len(entries) == 20
    kept = ledger.record("source3", "f" * 64, 1, None)
    assert kept == entries["source3"] and kept.size % 20 == 3


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
    with pytest.raises(DensebenchError, match=r"no weights \(HTTP 404 Not Found\): http"):
        hub.fetch(url_card())
    with pytest.raises(DensebenchError, match=r"no weights \(.*refused; gave up"):
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
