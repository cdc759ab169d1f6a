"""Records that are damaged, edited, incomplete or no files at all, to `densebench submit`."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from densebench.records.store import checksum_of

SUBMIT = "submit results --out out"
EDITS = 40  # evenly spread over all that a record says


def record_of(place: Path) -> Path:
    (record,) = (place / "results").glob("rgb_s14/*/*.json")
    return record


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from leaves(item, (*path, key))
    else:
        yield path


STRANGE: dict[str, Any] = {
    "nothing": None,
    "zero": 0,
    "minus": -1,
    "endless": float("inf"),
    "nan": float("nan"),
    "many": 10**400,
    "text": "x",
    "path": "../../../../etc/passwd",
    "nul": "a\x00b\x1b[31m",
    "list": [],
    "table": {},
    "yes": True,
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("number", range(EDITS))
def test_a_strange_value_under_a_checksum_that_fits(
    attempt: Callable, place: Path, number: int, what: str
) -> None:
    file = record_of(place)
    record = json.loads(file.read_text())
    paths = list(leaves(record))
    *above, last = paths[number * len(paths) // EDITS]
    inner = record
    for key in above:
        inner = inner[key]
    inner[last] = STRANGE[what]
    record["checksum"] = checksum_of(record)
    file.write_text(json.dumps(record))
    done = attempt(*SUBMIT.split())
    assert file.stem in done.err


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def link(file: Path) -> None:
    shutil.copy(file, file.parents[3] / "elsewhere")
    file.unlink()
    file.symlink_to("../../../elsewhere")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def zero(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "bytes": lambda file: file.write_bytes(bytes(range(256))),
    "nested": lambda file: file.write_text("[" * 100_000),
    "gone": Path.unlink,
    "link": link,
    "loop": loop,
    "zero": zero,
    "pipe": pipe,
    "folder": folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", ["json", "evidence.npz"])
def test_a_damaged_file(attempt: Callable, place: Path, ending: str, damage: str) -> None:
    file = record_of(place).with_suffix(f".{ending}")
    DAMAGES[damage](file)
    done = attempt(*SUBMIT.split())
    assert file.name in done.err or (damage, ending) in (("gone", "json"), ("folder", "json"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("check", [True, False])
def test_a_damaged_record_that_is_named(
    attempt: Callable, place: Path, damage: str, check: bool
) -> None:
    file = record_of(place)
    DAMAGES[damage](file)
    attempt("submit", str(file), *(["--check"] if check else ["--out", "out"]))


OUTS: dict[str, Callable[[Path], object]] = {
    "file": lambda out: out.write_text("mine"),
    "link": lambda out: out.symlink_to("data"),
    "dangling": lambda out: out.symlink_to("nowhere"),
    "pipe": os.mkfifo,
    "full": lambda out: shutil.copytree(out.parent / "data", out),
    "sums of somebody else": lambda out: (out.mkdir(), (out / "SHA256SUMS").write_text("mine")),
    "sums that are a pipe": lambda out: (out.mkdir(), os.mkfifo(out / "SHA256SUMS")),
}


@pytest.mark.parametrize("kind", OUTS)
def test_a_place_of_somebody_elses(attempt: Callable, place: Path, kind: str) -> None:
    out = place / "mine"
    OUTS[kind](out)
    before = sorted(out.rglob("*")) if out.is_dir() and not out.is_symlink() else out.is_symlink()
    done = attempt("submit", "results", "--out", "mine")
    assert "mine" in done.err
    after = sorted(out.rglob("*")) if out.is_dir() and not out.is_symlink() else out.is_symlink()
    assert before == after


@pytest.mark.parametrize(
    "arguments",
    [
        "submit",
        "submit nowhere",
        "submit good.png",
        "submit data",
        "submit results --out results/out",
        "submit results --out good.png/out",
        "submit results --hub-dataset",
    ],
)
def test_arguments_that_make_no_submission(attempt: Callable, arguments: str) -> None:
    attempt(*arguments.split())
