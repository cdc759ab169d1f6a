"""Many runs: the parts of the training images, the seeds, and the names."""

import sys
from pathlib import Path
from typing import Any

import pytest

from densebench import cli
from densebench.datasets.published_lists import SUBSET_SEEDS
from densebench.host.screen import Console
from densebench.host.watcher import Watcher
from densebench.run.apart import Outcome
from densebench.run.matrix import matrix_table, run_matrix
from densebench.run.options import RunOptions


def test_a_misspelt_name_is_found_before_the_first_run(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("rgb_s14,rbg_s14", "rgb_s14,absent.py:make"):
        assert run(monkeypatch, "--backbone", name) == 2
    assert "did you mean 'rgb_s14'" in capfd.readouterr().err
    assert not asked


@pytest.mark.slow
def test_subset_seeds_average_in_one_row(colour_task: Path, tmp_path: Path) -> None:
    base = RunOptions("rgb_s14", str(colour_task), subset="own:1/2", results=tmp_path, cache="off")
    outcomes = run_matrix(base, ["rgb_s14"], [str(colour_task)], [0], Watcher(), [42, 400])
    records = [outcome.record for outcome in outcomes]
    assert [record.dataset.subset_seed for record in records if record] == [42, 400]
    assert {record.dataset.subset for record in records if record} == {"own:1/2"}
    table = matrix_table(outcomes)
    assert table.row_count == 1
    assert str(next(iter(table.columns[3].cells))).endswith("(2 subsets)")


def test_what_stands_in_brackets_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    options = RunOptions("x [old]", "y [/red].toml")
    Console(width=150).print(matrix_table([Outcome(options, None, None, "no [bold]z[/bold]")]))
    told = capsys.readouterr().out
    assert all(text in told for text in ("x [old]", "y [/red].toml", "no [bold]z[/bold]"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of each matrix that the command asks for; none is run."""
    calls: list[Any] = []
    monkeypatch.setattr(
        "densebench.run.matrix.run_matrix", lambda *arguments: calls.append(arguments) or []
    )
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    place = ("run", "--backbone", "rgb_s14", "--task", "scenes_linear")
    monkeypatch.setattr(sys, "argv", ["densebench", *place, *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_published_seeds_are_the_five_of_the_subsets(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "--subset", "own:1/8", "--seeds", "published", "--seed", "3") == 0
    ((base, _, _, seeds, _, subset_seeds),) = asked
    assert base.subset == "own:1/8" and list(seeds) == [3]
    assert subset_seeds == SUBSET_SEEDS == (42, 400, 783, 1293, 4019)


def test_seeds_as_a_number(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--seeds", "3", "--seed", "5") == 0
    ((_, _, _, seeds, _, subset_seeds),) = asked
    assert list(seeds) == [5, 6, 7] and subset_seeds is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seeds", "published"], "give it a --subset, such as 1/128, and no --subset-seed"),
        (
            ["--seeds", "published", "--subset", "own:1/8", "--subset-seed", "42"],
            "and no --subset-seed",
        ),
        (["--seeds", "published", "--subset", "1/8"], "own:1/8 is a seeded share"),
        (["--seeds", "0"], "--seeds wants a number from 1 to 1000, or published, not '0'"),
        (["--seeds", "five"], "not 'five'"),
    ],
)
def test_seeds_that_are_not(
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert told in capfd.readouterr().err
    assert not asked
