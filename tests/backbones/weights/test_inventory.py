"""`densebench weights list` and `verify` on cards of one's own."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench import cli
from densebench.backbones.weights import hub
from densebench.backbones.weights.inventory import verify_weights, weights_state
from densebench.cards import find_backbone
from densebench.host.errors import DensebenchError

Run = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/dir/tiny.pth"
DIGEST = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["densebench", "weights", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def cards(write_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cards of every kind of source, none of whose weights are here."""
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
    write_card("my_pinned", weights={"url": URL, "sha256": DIGEST})
    write_card("my_url", weights={"url": URL})
    write_card("my_own", weights={"path": "own.pth"})
    write_card("my_hub", weights={"repo": "someone/nothing", "file": "x.ckpt"})
    return tmp_path


def keep(content: bytes = b"weights") -> Path:
    path = hub.url_path(URL)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_list(run: Run, cards: Path) -> None:
    (cards / "own.pth").write_bytes(b"own")
    code, out, _ = run("list", "my_*")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert lines["my_pinned"].split() == ["-", "pinned", DIGEST[:12], URL]
    assert lines["my_url"].split() == ["-", "sha256", "unknown", URL]
    assert lines["my_own"].split()[-1] == "own.pth" and lines["my_own"].split()[0] != "-"
    assert lines["my_hub"].split()[-1] == "someone/nothing/x.ckpt@main"
    keep()
    assert run("verify", "my_url")[0] == 0
    code, out, _ = run("list")
    assert f"recorded {DIGEST[:12]}" in out
    assert "rgb_s14" in out and "no weights" in out


def test_the_first_verification_records(run: Run, cards: Path) -> None:
    path = keep()
    code, out, _ = run("verify", "my_*")
    assert code == 0
    assert f"my_pinned: {path} (pinned {DIGEST[:12]})" in out
    assert f"my_url: {path} (recorded {DIGEST[:12]})" in out
    assert "my_hub: not here; `densebench weights fetch my_hub` gets them" in out
    recorded = json.loads((cards / "cache/weights.json").read_text())
    assert recorded[URL]["sha256"] == DIGEST and recorded[URL]["size"] == 7


def test_other_weights_end_with_2(run: Run, cards: Path) -> None:
    keep()
    verify_weights("my_url")
    path = keep(b"changed")
    code, out, err = run("verify", "my_*")
    assert code == 2
    assert f"my_pinned: {path}: its SHA-256 is " in err
    assert f"but the card of my_pinned states {DIGEST}; delete the file and fetch it again" in err
    assert f"was recorded {DIGEST}; delete the file" in err
    assert err.splitlines()[-1].startswith("error: my_pinned, my_url: not the weights they were")
    assert "my_hub: not here" in out


def test_verify_reads_the_content_again(run: Run, cards: Path) -> None:
    """Size and date would not tell, neither here nor where weights are loaded."""
    path = keep()
    os.utime(path, (1_500_000_000, 1_500_000_000))
    hub.fetch(find_backbone("my_pinned").card, name="my_pinned")
    path.write_bytes(b"wEights")
    os.utime(path, (1_500_000_000, 1_500_000_000))
    with pytest.raises(DensebenchError, match="but the card of my_pinned states"):
        hub.fetch(find_backbone("my_pinned").card, name="my_pinned")
    assert run("verify", "my_pinned")[0] == 2


def test_own_weights_may_change_unless_they_are_pinned(
    run: Run, cards: Path, write_card: Callable[..., Path]
) -> None:
    for content in (b"one", b"two"):
        (cards / "own.pth").write_bytes(content)
        assert run("verify", "my_own")[0] == 0
    assert not (cards / "cache/weights.json").exists()
    write_card("my_own", weights={"path": "own.pth", "sha256": DIGEST})
    code, _, err = run("verify", "my_own")
    assert code == 2 and "put the right file there, or correct the card" in err


def test_unknown_names(run: Run, cards: Path) -> None:
    assert "no backbone matches 'zz*'" in run("verify", "zz*")[2]
    assert "no backbone matches 'zz*'" in run("list", "zz*")[2]
    assert weights_state("rgb_s14").source == "" and verify_weights("rgb_s14").path is None
