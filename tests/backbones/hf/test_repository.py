"""Models out of folders, and out of a loopback server that answers as the hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from densebench.backbones import find, load_backbone
from densebench.backbones.hf.repository import beside, found_by_name
from densebench.host.errors import DensebenchError

COMMIT, LATER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


class Hub(ThreadingHTTPServer):
    """Files of repositories by path, at whatever revision, and the requests that were made."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.commit = COMMIT
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        if self.path == "/move":
            self.server.commit = LATER
        elif self.path == "/count":
            self.server.files["/count"] = str(len(self.server.requests)).encode()
        else:
            self.server.requests.append(f"{self.command} {self.path}")
        repo, _, rest = self.path.partition("/resolve/")
        body = self.server.files.get(f"{repo}/{rest.partition('/')[2]}" if rest else self.path)
        known = any(path.startswith(f"{repo}/") for path in self.server.files)
        at = rest.partition("/")[0]
        self.send_response(200 if body is not None else 404)
        self.send_header("X-Repo-Commit", at if len(at) == 40 else self.server.commit)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if with_body and body is not None:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Hub]:
    running = Hub()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


SCRIPT = """
import json, os, sys
from urllib.request import urlopen
from densebench.backbones import find, load_backbone
from densebench.host.errors import DensebenchError

def attempt(name, step):
    if step in ("count", "move"):
        return urlopen(os.environ["HF_ENDPOINT"] + "/" + step).status if step == "move" else int(
            urlopen(os.environ["HF_ENDPOINT"] + "/count").read())
    try:
        if step == "card":
            return find(name).card.model_dump(mode="json")
        return load_backbone(name, offline=step == "offline").fingerprint
    except DensebenchError as error:
        return str(error)

print(json.dumps([attempt(*step) for step in json.loads(sys.argv[1])]))
"""


def asked(server: Hub, folder: Path, steps: list[tuple[str, str]]) -> list[Any]:
    """In one process, because the hub's address is read once, at import."""
    server.files["/move"] = b""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "",
        "DENSEBENCH_CACHE": str(folder / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(steps)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return list(json.loads(done.stdout))


def uploaded(server: Hub, repo: str, folder: Path, leave_out: str = "") -> None:
    for file in folder.iterdir():
        if file.name != leave_out:
            server.files[f"/{repo}/{file.name}"] = file.read_bytes()


def test_a_model_of_the_hub(server: Hub, make_folder: Any, tmp_path: Path) -> None:
    folder = make_folder("vit")
    uploaded(server, "org/model", folder)
    uploaded(server, "org/empty", folder, "model.safetensors")
    name = "hf:org/model"
    steps = [(name, "offline"), ("", "count"), (name, "online"), ("", "count"), ("", "move")]
    steps += [(name, "online"), (name, "offline"), ("", "count"), (name, "card")]
    steps += [("hf:org/empty", "online"), ("hf:org/none", "online"), ("hf:org/--bad..", "online")]
    answers = asked(server, tmp_path, steps)
    refused, none, first, some, _, again, offline, still, card, *refusals = answers
    assert refused.startswith(f"{name}: no weights (the network is switched off): org/model/config")
    assert none == 0 and some > 0 and still == some
    assert first == again == offline == load_backbone(f"hf:{folder}").fingerprint
    assert card["weights"]["revision"] == COMMIT and card["id"] == "org/model"
    empty, missing, bad = refusals
    assert "no such file in the repository" in empty
    assert "no such repository" in missing
    assert bad.startswith("hf:org/--bad..: there is no such folder, and nothing on the hub can be")
    assert not any("\n" in refusal for refusal in refusals)


def test_a_preprocessor_and_several_files_of_the_hub(
    server: Hub, make_folder: Any, tmp_path: Path
) -> None:
    folder = make_folder("vit")
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    file = folder / "model.safetensors"
    index = {"weight_map": {"any": "part.safetensors"}}
    first = load_backbone(f"hf:{folder}").fingerprint
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    file.rename(folder / "part.safetensors")
    uploaded(server, "org/model", folder)
    steps = [("hf:org/model", step) for step in ("online", "offline", "card")]
    online, offline, card = asked(server, tmp_path, steps)
    assert online == offline == first
    assert card["mean"] == [0.1, 0.2, 0.3]
    assert card["weights"]["file"] == "model.safetensors.index.json"
    found = find(f"hf:{folder}")
    assert found is not None
    assert [path.name for path in beside(found)] == ["config.json", "part.safetensors"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "is no folder; give hf:FOLDER"),
        ("a/b/c", "is no folder; give hf:FOLDER"),
        ("./model", "is no folder; give hf:FOLDER"),
        ("org/mo del", "nothing on the hub can be called so"),
        ("org/mo\0del", "nothing on the hub can be called so"),
        ("org/" + "x" * 300, "nothing on the hub can be called so"),
        ("org/möbel", "nothing on the hub can be called so"),
    ],
)
def test_names_that_are_none(name: str, told: str) -> None:
    with pytest.raises(DensebenchError, match=told) as caught:
        found_by_name(name, offline=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("config.json", "there is no config.json in"),
        ("model.safetensors", "no weights: there is no file"),
    ],
)
def test_a_folder_that_is_not_whole(left_out: str, told: str, make_folder: Any) -> None:
    folder = make_folder("vit")
    (folder / left_out).unlink()
    with pytest.raises(DensebenchError, match=told):
        load_backbone(f"hf:{folder}")


def test_a_file_is_no_folder(make_folder: Any) -> None:
    file = make_folder("vit") / "model.safetensors"
    with pytest.raises(DensebenchError, match="is no folder"):
        load_backbone(f"hf:{file}")


def test_what_is_assumed_is_told(make_folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder("siglip")
    find(f"hf:{folder}")
    assert "has no preprocessor_config.json, so its images are" in capsys.readouterr().err
