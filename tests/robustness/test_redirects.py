"""Servers that send elsewhere: from https to http only where the file's checksum is known."""

import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

CARD = """
name = "mine"
source = "python"
id = "net.py:make"
patch_size = 14
embed_dim = 4
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
position_embedding = "none"
license = "x"
training_data = "x"
[weights]
url = "https://host.org/first"
"""
COMMANDS = {
    "weights": "weights fetch mine",
    "run": "run --backbone bad.toml --task data/retrieval.toml --results new",
    "extract": "extract --backbone bad.toml --image good.png --size 28 --out out.npz",
}
# Where each way leads, step by step; the last one has the file.
WAYS = {
    "at once": ["http://host.org/file"],
    "in capitals": ["HTTP://host.org/file"],
    "elsewhere": ["http://[2001:db8::1]:8080/file"],
    "in two steps": ["https://host.org/second", "http://host.org/file"],
    "and back": ["http://host.org/second", "https://host.org/file"],
    "within a host": ["/second", "http://host.org/file"],
}
OFF = {
    "to a file": ["file:///etc/passwd"],
    "to another kind": ["ftp://host.org/file"],
    "to nothing": ["http:///file"],
    "after a name": ["https://user:word@host.org/second", "http://host.org/file"],
    "in a circle": ["https://host.org/first"],
}


class Server(ThreadingHTTPServer):
    """Sends each path on to the next; who asks for the last one is given the weights."""

    daemon_threads = True
    status = 302

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.asked = body, list[str]()
        self.steps: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = "/" + self.path.rpartition("/")[2]
        self.server.asked.append(path)
        step, body = self.server.steps.get(path), self.server.body
        self.send_response(200 if step is None else self.server.status)
        if step is not None:
            self.send_header("Location", step)
            body = b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.manual_seed(1)
    torch.save(torch.nn.Conv2d(3, 4, 14, stride=14).state_dict(prefix="proj."), file)
    return file.read_bytes()


@pytest.fixture
def server(weights: bytes) -> Iterator[Server]:
    with Server(weights) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()


def all_lead_to(port: int) -> Callable[[], None]:
    """Every host is that server, which speaks without encryption on https as well."""

    def connect(self: http.client.HTTPConnection) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 5)

    def set_up() -> None:
        http.client.HTTPConnection.connect = connect  # type: ignore[method-assign]
        http.client.HTTPSConnection.connect = connect  # type: ignore[method-assign]

    return set_up


def fetched(
    going: type, place: Path, server: Server, command: str, steps: list[str], checksum: str = ""
) -> Any:
    paths = ["/first", "/second"][: len(steps)]
    server.steps = dict(zip(paths, steps, strict=True))
    (place / "cards").mkdir()
    for name in ("bad.toml", "cards/mine.toml"):
        (place / name).write_text(CARD + checksum)
    env = {"DENSEBENCH_PATH": "cards", "no_proxy": "*", "HF_HUB_OFFLINE": "0"}
    return going(place, COMMANDS[command].split(), env, all_lead_to(server.server_port)).ended()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", [*WAYS, *OFF])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_unsafe_redirect(
    going: type, place: Path, server: Server, command: str, way: str, status: int
) -> None:
    """It is refused at once, and the file is not asked for."""
    server.status = status
    done = fetched(going, place, server, command, {**WAYS, **OFF}[way])
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 2, done
    assert "no weights (" in done.err
    assert any(why in done.err for why in ("redirected", f"HTTP {status}", "not an address")), done
    assert "trying again" not in done.err
    assert "/file" not in server.asked


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_with_a_checksum_it_is_followed(
    going: type, place: Path, server: Server, weights: bytes, command: str, way: str
) -> None:
    """Who changes it on the way is found out."""
    checksum = f'sha256 = "{hashlib.sha256(weights).hexdigest()}"\n'
    done = fetched(going, place, server, command, WAYS[way], checksum)
    assert done.code == 0, done
    assert "/file" in server.asked


@pytest.mark.parametrize("command", COMMANDS)
def test_another_file_than_the_checksum_says(
    going: type, place: Path, server: Server, command: str
) -> None:
    done = fetched(going, place, server, command, WAYS["at once"], f'sha256 = "{"0" * 64}"\n')
    assert not done.fault, f"{done.fault}: {done}"
    assert done.code == 2, done
