"""What lies in place of a lock; bad cards among good ones."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = "run --backbone rgb_s14 --task data/retrieval.toml --results new --overwrite"
TRAIN = (
    "posttrain --backbone net.py:make --recipe tiny.toml --name mine --data data/images --overwrite"
)
# The locks that a command takes, and the command.
LOCKS = {
    "features": (".cache/features/*.lock", RUN),
    "training": ("posttrained/mine/.densebench/lock", TRAIN),
    "cleared": (".cache/features/*.lock", "cache clear"),
}
PRECIOUS = b"what must not be cut off"


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        os.chdir(path.parent)
        there.bind(path.name)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to(path.parent / "precious"),
    "link elsewhere": lambda path: path.symlink_to("/etc/hostname"),
    "dangling": lambda path: path.symlink_to(path.parent / "made"),
    "loop": lambda path: path.symlink_to(path.name),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "folder link": lambda path: path.symlink_to(path.parent),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "hard link": lambda path: path.hardlink_to(path.parent / "precious"),
    "read only": lambda path: (path.touch(), path.chmod(0o400)),
    "no rights": lambda path: (path.touch(), path.chmod(0)),
    "content": lambda path: path.write_bytes(PRECIOUS),
    "socket": bound,
}


@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.parametrize("lock", LOCKS)
def test_what_lies_in_place_of_a_lock(
    attempt: Callable, place: Path, monkeypatch: pytest.MonkeyPatch, lock: str, instead: str
) -> None:
    """No link is followed, nothing is cut off."""
    monkeypatch.chdir(place)  # from where a socket's short name is enough
    pattern, command = LOCKS[lock]
    if lock == "training":
        (place / "posttrained/mine/.densebench").mkdir(exist_ok=True)
        (place / "posttrained/mine/.densebench/lock").touch()
    files = list(place.glob(pattern))
    assert files
    for file in files:
        (file.parent / "precious").write_bytes(PRECIOUS)
        file.unlink()
        INSTEAD[instead](file)
    attempt(*command.split(), may_work=True)
    for file in files:
        precious = file.parent / "precious"
        assert not precious.exists() or precious.read_bytes() == PRECIOUS
        assert not (file.parent / "made").exists()


CARD = """
name = "{name}"
source = "python"
id = "net.py:make"
patch_size = 14
embed_dim = 4
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
position_embedding = "none"
license = "x"
training_data = "x"
"""
BAD: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "noise": lambda path: path.write_bytes(bytes(range(256))),
    "latin": lambda path: path.write_bytes(b'name = "gr\xfcn"'),
    "deep": lambda path: path.write_text("a = " + "[" * 100_000),
    "no keys": lambda path: path.write_text('name = "bad"'),
    "other name": lambda path: path.write_text(CARD.format(name="another")),
    "line end": lambda path: path.write_text(CARD.format(name="bad\\n")),
    "delete": lambda path: path.write_text(CARD.format(name="bad\\u007f")),
    "nan": lambda path: path.write_text(CARD.format(name="bad").replace("0.485", "nan")),
}
ASKED = {
    "list": "list",
    "run": RUN,
    "show": "show rgb_s14",
    "list backbones": "list backbones",
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("asked", ASKED)
def test_a_bad_card_among_good_ones(attempt: Callable, place: Path, bad: str, asked: str) -> None:
    """It is left out, with a warning where it would have stood; the others work."""
    folder = place / "cards/backbones"
    folder.mkdir(parents=True)
    BAD[bad](folder / "bad.toml")
    (folder / "good.toml").write_text(CARD.format(name="good"))
    done = attempt(*ASKED[asked].split(), env={"DENSEBENCH_PATH": "cards"}, may_work=True)
    assert done.code == 0, done.err
    assert "list" not in ASKED[asked] or "  good " in done.out
