"""Files that densebench itself wrote, damaged since: made anew where that can be, or refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.files.hashes import content_hash

DEEP = b"[" * 100_000
Damage = Callable[[Path], object]


def replaced(content: bytes) -> Damage:
    return lambda file: file.write_bytes(content)


def other(make: Callable[[Path], object]) -> Damage:
    def put(file: Path) -> None:
        file.unlink()
        make(file)

    return put


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 255
    file.write_bytes(content)


DAMAGE: dict[str, Damage] = {
    "empty": replaced(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "more": lambda file: file.write_bytes(file.read_bytes() + b"more"),
    "flipped": flipped,
    "deep": replaced(DEEP),
    "deep table": replaced(b'{"a":' * 100_000),
    "digits": replaced(b'{"filled": ' + b"9" * 5000 + b"}"),
    "list": replaced(b"[1, 2]"),
    "null": replaced(b"null"),
    "number": replaced(b"7"),
    "table": replaced(b"{}"),
    "latin": replaced(b'{"n\xe9": 1}'),
    "noise": replaced(bytes(range(256)) * 9),
    "pipe": other(os.mkfifo),
    "zero": other(lambda file: file.symlink_to("/dev/zero")),
    "folder": other(Path.mkdir),
    "loop": other(lambda file: file.symlink_to(file.name)),
}
RUN = "run --backbone rgb_s14 --task data/retrieval.toml --results results"
AGAIN = f"{RUN} --overwrite"
RESUME = (
    "posttrain --backbone net.py:make --recipe tiny.toml --data data/images --name mine --resume"
)
EXTRACT = "extract --backbone mine --image good.png --size 28 --out out.npz"
DEPTH_RUN = "run --backbone rgb_s14 --task data/depth_linear.toml --results fresh"
# The file, the command that reads it, and whether it is only a help, without which all goes on.
FILES: dict[str, tuple[str, str, bool]] = {
    "record": ("results/**/rgb_s14/**/*.json", "leaderboard --results results", False),
    "record again": ("results/**/rgb_s14/**/*.json", RUN, False),
    "counts": ("results/**/*.npz", "compare rgb_s14 net.py:make --task tiny_linear", True),
    "panels": ("results/**/index.json", RUN, True),
    "head": (
        "head.safetensors",
        "predict --backbone net.py:make --image good.png --out out.png --head head.safetensors",
        False,
    ),
    "depth head": (
        "depth.safetensors",
        "predict --backbone rgb_s14 --image good.png --out out.png --head depth.safetensors",
        False,
    ),
    "depth": ("data/depth/*.png", DEPTH_RUN, False),
    "depth panels": ("depth/**/index.json", DEPTH_RUN.replace("fresh", "depth"), True),
    "cache": (".cache/features/*/meta.json", AGAIN, True),
    "cached patches": (".cache/features/*/patches.npy", AGAIN, True),
    "cached masks": (".cache/features/*/masks.npy", AGAIN, True),
    "cache list": (".cache/features/*/meta.json", "cache list", True),
    "cache clear": (".cache/features/*/meta.json", "cache clear", True),
    "hashes": (".cache/hashes/*.json", AGAIN, True),
    "remembered": (".cache/fingerprints/*.json", AGAIN, True),
    "checkpoint": ("posttrained/mine/checkpoints/step-00000002.pt", RESUME, False),
    "log": ("posttrained/mine/log.jsonl", RESUME, True),
    "images": ("posttrained/mine/images.sha256", "run --backbone mine --task data/linear.toml", 1),
    "card": ("posttrained/mine/mine.toml", "show mine", False),
    "weights": ("posttrained/mine/student.safetensors", EXTRACT, False),
    "ledger": (".cache/weights.json", "weights list", True),
    "ladder": ("results/rgb_s14/l.ladder.json", "leaderboard --results results", False),
}
RUNG = {"name": "one", "protocol": "knn", "task": "t", "variant": "clean", "factor": ""}
LADDER = {
    "ladder": "l",
    "description": "",
    "backbone": "rgb_s14",
    "seed": 0,
    "partial": False,
    "rungs": [{**RUNG, "changes": [], "told": []}],
}
SEALED = {**LADDER, "checksum": content_hash(LADDER)}
WRITTEN = {"ledger": "{}", "ladder": json.dumps(SEALED)}  # by no command that is run here


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("what", FILES)
def test_damaged(attempt: Callable, place: Path, what: str, damage: str) -> None:
    pattern, command, may_work = FILES[what]
    files = [
        file for file in place.glob(pattern) if "panel" not in file.parent.name or what == "panels"
    ]
    if what in WRITTEN:
        files = [place / pattern]
        files[0].write_text(WRITTEN[what])
    for file in files:
        DAMAGE[damage](file)
    attempt(*command.split(), may_work=bool(may_work) or damage == "more")


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unfinished_epoch(attempt: Callable, place: Path, damage: str) -> None:
    """It is begun anew, saying so; what its values may be is in another file."""
    command = ["run", "--backbone", "net.py:make", "--task", "data/linear.toml", "--results", "new"]
    (record,) = (place / "results").glob("**/net.py*/**/*.json")
    folder = place / "new/.unfinished" / json.loads(record.read_text())["run_id"]
    folder.mkdir(parents=True)
    (folder / "epoch.pt").write_bytes(b"no state")
    DAMAGE[damage](folder / "epoch.pt")
    done = attempt(*command, may_work=True)
    if damage in ("folder", "loop"):  # which no write replaces
        return
    assert done.code == 0, done.err
    assert "begins anew" in done.err
    (new,) = (place / "new").glob("**/net.py*/**/*.json")
    assert json.loads(new.read_text())["scores"] == json.loads(record.read_text())["scores"]


@pytest.mark.parametrize("kind", [".tar", ".zip"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_archive_of_data(attempt: Callable, place: Path, kind: str, damage: str) -> None:
    archive = shutil.make_archive(str(place / "data/a"), kind[1:], place / "data", "images")
    shutil.rmtree(place / "data/images")
    DAMAGE[damage](Path(archive))
    fine = damage == "more"
    attempt(*f"{AGAIN} --cache off".split(), may_work=fine)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_of_an_archive(attempt: Callable, place: Path, damage: str) -> None:
    shutil.make_archive(str(place / "data/a"), "tar", place / "data", "images")
    shutil.rmtree(place / "data/images")
    os.utime(place / "data/a.tar", (1, 1))
    attempt(*AGAIN.split(), may_work=True)
    index = place / ".cache/archives"
    index.mkdir(exist_ok=True)
    for file in index.glob("*.npz"):
        DAMAGE[damage](file)
    assert attempt(*AGAIN.split(), may_work=True).code == 0


def test_what_is_whole_works(attempt: Callable, place: Path) -> None:
    """So that the cases above are refused for their damage."""
    for command in dict.fromkeys(command for _, command, _ in FILES.values()):
        if "compare" not in command:  # whose second backbone has not this task
            done = attempt(*command.split(), may_work=True, unwanted=())
            assert done.code == 0, f"{command}: {done.err}"
