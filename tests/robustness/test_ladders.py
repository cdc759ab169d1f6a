"""Ladders: cards that are none, what the command is given, and what was edited since."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CARD = """
name = "tiny_ladder"
description = "two rungs"
[[rung]]
name = "one"
task = "retrieval.toml"
[[rung]]
name = "two"
task = "retrieval.toml"
variant = "reference"
factor = "fewer neighbours"
changes = ["n_neighbours"]
params = { n_neighbours = 2 }
[[rung.published]]
backbone = "somebody's"
value = 61.5
source = "a paper"
"""
DIGITS, DEEP = "9" * 5000, "[" * 3000
# What is replaced, by what with each of these values.
REPLACED = [
    ('name = "tiny_ladder"', "name = {}", '"" 7 [] "a/b" "a\\n" "../x"'),
    ('name = "two"', "name = {}", '"one" "" 7 "a\\u007f" []'),
    (
        'task = "retrieval.toml"\nvariant',
        "task = {}\nvariant",
        '"absent" "absent.toml" "" 7 "." "masks" "/dev/zero" "pipe" "pipe.toml" "zero.toml" '
        '"a\\u0000b.toml" "train.txt" "linear.toml"',
    ),
    ('variant = "reference"', "variant = {}", '"x" "" 7 [] "clean"'),
    ('"fewer neighbours"', "{}", '"" 7 [] {}'),
    ('["n_neighbours"]', "{}", '[] ["beta"] ["n_neighbours","beta"] "n_neighbours" [7] ["x"]'),
    ("params = { n_neighbours = 2 }", "params = {}", "{} {x=1} [] {beta=inf} {beta=0.5}"),
    (
        "n_neighbours = 2 }",
        "n_neighbours = {} }}",
        f"4 nan 0 1.5 {DIGITS} true {DEEP} 99999999999 2,beta=0.5",
    ),
    ("value = 61.5", "value = {}", f'nan inf "x" [] {DIGITS} true'),
    ("[[rung]]", "{}", "[rung] [[rungs]]"),
    ('description = "two rungs"', "{}", "description=7 unknown=1"),
    ('source = "a paper"', "{}", "source=7 #"),
    (CARD, 'name = "x"\n{}', "rung=[] # rung=[7] rung=7"),
]
EDITS = [(old, new.format(value)) for old, new, values in REPLACED for value in values.split()]
COMMANDS = {
    "dry": "ladder --backbone rgb_s14 --dataset data/tiny.toml --dry-run --results new",
    "run": "ladder --backbone rgb_s14 --dataset data/tiny.toml --results new",
}


def write_ladder(place: Path) -> Path:
    """The card, with a retrieval beside it whose parameters its rungs may name."""
    task = place / "data/retrieval.toml"
    assert "n_neighbours = 2" not in task.read_text()
    card = place / "data/tiny.toml"
    card.write_text(CARD)
    return card


@pytest.mark.parametrize("number", range(len(EDITS)), ids=lambda n: f"{n}-{EDITS[n][1][:30]!a}")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_ladder(attempt: Callable, place: Path, number: int, command: str) -> None:
    card, (old, new) = write_ladder(place), EDITS[number]
    for name in ("pipe", "pipe.toml"):
        os.mkfifo(place / "data" / name)
    (place / "data/zero.toml").symlink_to("/dev/zero")
    assert old in CARD
    card.write_text(CARD.replace(old, new))
    attempt(*COMMANDS[command].split())
    assert not (place / "new").exists()


def test_as_it_is_written_above_it_works(attempt: Callable, place: Path) -> None:
    """So that the cases above are refused for what is edited."""
    write_ladder(place)
    assert attempt(*COMMANDS["dry"].split(), may_work=True).code == 0


ASKED = [
    (option, value)
    for option, values in {
        "--backbone": ["absent", "''", "a b", "absent.py:make", "~nouser/x", "rgb_s14,hog_s14"],
        "--dataset": ["absent", "a b", "absent.toml", "/dev/zero", "data", ".toml", "good.png"],
        "--limit": ["-1", "0", "1.5", "x", "9" * 30, "nan"],
        "--seed": ["-1", "1.5", "x", "9" * 30, DIGITS],
        "--batch-size": ["0", "-1", "x", "9" * 30],
        "--workers": ["-1", "x", "1.5"],
        "--device": ["x", "cuda:99", "meta"],
        "--data-root": ["good.png/x", "~nouser/x"],
        "--train-list": ["absent.txt", "data", "/dev/zero"],
        "--val-list": ["absent.txt", "data", "/dev/zero"],
        "--weights": ["absent.pth", "data"],
        "--results": ["good.png", "/dev/null/x", "~nouser/x"],
    }.items()
    for value in values
]  # fmt: skip
# What a dry run need not look at: it runs nothing.
UNSEEN = ("--data-root", "--train-list", "--val-list", "--weights", "--results", "--device")


@pytest.mark.parametrize(("option", "value"), ASKED, ids=[f"{o}-{v[:20]}" for o, v in ASKED])
def test_what_the_command_is_given(attempt: Callable, place: Path, option: str, value: str) -> None:
    write_ladder(place)
    usual = {"--backbone": "rgb_s14", "--dataset": "data/tiny.toml", "--results": "new"}
    words = [word for pair in {**usual, option: value}.items() for word in pair]
    fine = option in UNSEEN or (option, value) == ("--limit", "9" * 30)
    attempt("ladder", *words, "--dry-run", may_work=fine)
    assert not (place / "new").exists()


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a table that have no further ones."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(item, (*path, key))
    else:
        yield path


def climbed(place: Path) -> Path:
    """A ladder of one rung, which was run, beside its record."""
    from densebench.records.ladders import LadderRecord, RungRecord, StepRecord, save_ladder
    from densebench.records.store import load_record

    (file,) = (place / "results").glob("rgb_s14/*/*.json")
    record = load_record(file)
    facts = {"protocol": "in_context", "task": record.task, "variant": record.protocol.variant}
    rung = RungRecord(
        name="one", factor="a", changes=("b",), told=("b: 1 -> 2",), run_id=record.run_id,
        metric=record.score.main, record=str(file.relative_to(place / "results")), **facts,
        step=StepRecord(difference=0.1, low=0.0, high=0.2, p=0.5, level=0.95, over="images", n=2),
    )  # fmt: skip
    ladder = LadderRecord(
        ladder="l", description="d", backbone="rgb_s14", seed=0, partial=False, rungs=(rung,)
    )
    return save_ladder(ladder, place / "results")


LEAVES = 22  # evenly spread over all that a ladder says


@pytest.mark.parametrize("number", range(LEAVES))
@pytest.mark.parametrize("how", ["edited", "nan", "gone"])
def test_an_edited_ladder(attempt: Callable, place: Path, number: int, how: str) -> None:
    """It is named, and no board is made."""
    file = climbed(place)
    values = json.loads(file.read_text())
    paths = list(paths_in(values))
    *above, last = paths[number * len(paths) // LEAVES]
    inner = values
    for key in above:
        inner = inner[key]
    old = inner[last]
    if how == "gone":
        del inner[last]
    elif how == "nan":
        inner[last] = float("nan")
    else:
        inner[last] = old + 1 if isinstance(old, int | float) else f"{old}x"
    file.write_text(json.dumps(values))
    done = attempt("leaderboard", "--results", "results", "--html", "out")
    assert file.name in done.err


def test_a_ladder_that_is_whole_is_shown(attempt: Callable, place: Path) -> None:
    climbed(place)
    done = attempt("leaderboard", "--results", "results", "--html", "out", may_work=True)
    assert done.code == 0, done.err
