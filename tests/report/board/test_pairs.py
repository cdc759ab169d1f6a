"""`densebench compare`: which records belong together, what is refused, what is shown."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from densebench import cli
from densebench.records.store import EVIDENCE, beside, load_record
from densebench.report.board.pairs import compare_backbones

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
Pictures = Callable[..., Any]
TASK = "tiny_retrieval"


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    def call(*arguments: object) -> Done:
        command = ["densebench", "compare", *map(str, arguments), "--results", str(results)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def two(keep: Keep, pictures: Pictures) -> tuple[Path, Path]:
    return (
        keep(backbone={"name": "good"}, images=pictures(0.8, seed=1)),
        keep(backbone={"name": "fair"}, images=pictures(0.7, seed=2)),
    )


def by_hand(first: Any, second: Any) -> tuple[float, float, float]:
    """Difference and interval of two sets of images, each image left out in turn."""

    def score(images: Any) -> float:
        whole = images.sum(axis=0)
        hits = np.diag(whole)
        return float(np.mean(hits / (whole.sum(0) + whole.sum(1) - hits)))

    n = len(first)
    rest = [np.delete(np.arange(n), i) for i in range(n)]
    differences = np.array([score(first[r]) - score(second[r]) for r in rest])
    squares = np.square(differences - differences.mean())
    degrees = min(n - 1, 3 * squares.sum() ** 2 / np.square(squares).sum())
    half = stats.t(degrees).isf(0.025) * np.sqrt((n - 1) / n * squares.sum())
    difference = score(first) - score(second)
    return difference, difference - half, difference + half


class TestTheNumbers:
    def test_are_those_of_leaving_out_images_by_hand(
        self, two: tuple[Path, Path], run: Callable[..., Done], pictures: Pictures
    ) -> None:
        found = json.loads(run("good", "fair", "--task", TASK, "--json").out)
        difference, low, high = by_hand(pictures(0.8, seed=1), pictures(0.7, seed=2))
        assert found["difference"] == pytest.approx(difference)
        assert (found["low"], found["high"]) == pytest.approx((low, high))
        assert found["p"] < 0.001
        assert (found["n"], found["over"]) == (40, "images")
        assert found["first"]["miou"] - found["second"]["miou"] == pytest.approx(difference)
        records = [load_record(path) for path in two]
        for name, told in found["classes"].items():
            a, b = (record.score.classes[name] for record in records)
            assert (told["first"], told["second"]) == (a, b)
            assert told["difference"] == pytest.approx(a - b)
        assert list(found["classes"]) == sorted(
            found["classes"], key=lambda name: -found["classes"][name]["difference"]
        )

    def test_seeds_are_averaged(
        self, keep: Keep, results: Path, two: tuple[Path, Path], pictures: Pictures
    ) -> None:
        keep(backbone={"name": "good"}, images=pictures(0.6, seed=7), seed=1)
        pair = compare_backbones("good", "fair", TASK, "reference", results)
        mious = [record.score.value for _, record in pair.first.found]
        assert len(mious) == 2
        assert pair.first.value == pytest.approx(np.mean(mious))
        assert pair.comparison.difference == pytest.approx(pair.first.value - pair.second.value)
        one = compare_backbones(str(two[0]), str(two[1]), None, "reference", results)
        assert one.comparison.difference > pair.comparison.difference

    def test_with_itself_nothing_differs(
        self, two: tuple[Path, Path], run: Callable[..., Done]
    ) -> None:
        found = json.loads(run("good", "good", "--task", TASK, "--json").out)
        assert [found[key] for key in ("difference", "low", "high", "p")] == [0, 0, 0, 1]


class TestTheTable:
    def test_shows_the_difference_and_every_class_gains_first(
        self, two: tuple[Path, Path], run: Callable[..., Done]
    ) -> None:
        done = run("good", "fair", "--task", TASK)
        assert done.code == 0
        found = json.loads(run("good", "fair", "--task", TASK, "--json").out)
        assert f"{100 * found['difference']:+.2f}" in done.out
        assert f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f}" in done.out
        assert "< 0.001" in done.out
        caption = " ".join(done.out.split())
        assert "each of 40 images left out in turn, the same for both" in caption
        assert "about other images, not other seeds" in caption
        places = [done.out.index(f" {name} ") for name in found["classes"]]
        assert places == sorted(places)

    def test_a_class_that_is_nowhere(
        self, keep: Keep, run: Callable[..., Done], pictures: Pictures
    ) -> None:
        for name in "ab":
            images = pictures(0.8, seed=ord(name))
            images[:, 2, :] = images[:, :, 2] = 0
            keep(backbone={"name": name}, images=images)
        done = run("a", "b", "--task", TASK)
        (line,) = [line for line in done.out.splitlines() if " blue " in line]
        assert line.count("absent") == 2


class TestRefusals:
    @pytest.fixture
    def error(self, run: Callable[..., Done]) -> Callable[..., str]:
        def call(*arguments: object) -> str:
            done = run(*arguments)
            assert done.code == 2
            assert not done.out
            (line,) = done.err.splitlines()
            return line.removeprefix("error: ")

        return call

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"protocol": {"hash": "f" * 64, "params": {"beta": 0.5}}},
                "the protocol's parameters differ (",
            ),
            ({"protocol": {"hash": "f" * 64}}, "the classes or the void label differ"),
            (
                {"dataset": {"fingerprint": "f" * 64, "n_train": 2, "subset": "1/2"}},
                "2 training and 2 validation images, 1/2, fingerprint ffffffffffff",
            ),
            (
                {"dataset": {"skipped": {"image000": "unreadable"}}},
                "not the same images were left out as unreadable (0 and 1)",
            ),
            (
                {"protocol": {"hash": "f" * 64, "version": 99}},
                "the protocol's version differs (",
            ),
        ],
    )
    def test_another_protocol_or_dataset(
        self,
        keep: Keep,
        two: tuple[Path, Path],
        pictures: Pictures,
        error: Callable[..., str],
        changes: dict[str, Any],
        told: str,
    ) -> None:
        keep(backbone={"name": "other"}, images=pictures(0.8), **changes)
        line = error("good", "other", "--task", TASK)
        assert line.startswith("good and other cannot be compared: ")
        assert told in line

    def test_two_files_of_other_tasks(
        self, keep: Keep, two: tuple[Path, Path], pictures: Pictures, error: Callable[..., str]
    ) -> None:
        other = keep(backbone={"name": "fair"}, images=pictures(0.8), task="t2")
        assert "the task differs (tiny_retrieval and t2)" in error(two[0], other)

    def test_counts_that_were_not_kept(
        self, two: tuple[Path, Path], error: Callable[..., str]
    ) -> None:
        beside(two[1], EVIDENCE).unlink()
        line = error("good", "fair", "--task", TASK)
        assert "fair, " in line
        assert line.endswith("repeat the run with --overwrite")

    def test_other_images(
        self, keep: Keep, two: tuple[Path, Path], pictures: Pictures, error: Callable[..., str]
    ) -> None:
        names = tuple(f"other{i:02d}" for i in range(40))
        keep(backbone={"name": "c"}, images=pictures(0.7), names=names)
        assert "not scored on the same images" in error("good", "c", "--task", TASK)

    def test_partial_runs_unless_asked_for(
        self,
        keep: Keep,
        two: tuple[Path, Path],
        pictures: Pictures,
        error: Callable[..., str],
        run: Callable[..., Done],
    ) -> None:
        for name in ("part", "another"):
            keep(backbone={"name": name}, images=pictures(0.7), partial=True, limit=2)
        line = error("good", "part", "--task", TASK)
        assert line == "part: only partial runs, which --partial lets through"
        assert run("another", "part", "--task", TASK, "--partial").code == 0
        assert ", the first 2, " in error("good", "part", "--task", TASK, "--partial")

    def test_several_that_could_be_meant(
        self, keep: Keep, two: tuple[Path, Path], pictures: Pictures, error: Callable[..., str]
    ) -> None:
        keep(backbone={"name": "good"}, images=pictures(0.8), precision="bf16")
        line = error("good", "fair", "--task", TASK)
        assert "share 2 settings" in line
        assert "give the files of two records" in line

    def test_names(self, two: tuple[Path, Path], error: Callable[..., str]) -> None:
        assert "did you mean 'good'?" in error("god", "fair", "--task", TASK)
        assert "did you mean 'tiny_retrieval'?" in error("good", "fair", "--task", "tiny_retrival")
        assert "in the variant 'clean'; there is reference" in error(
            "good", "fair", "--task", TASK, "--variant", "clean"
        )
        assert "--task is needed" in error("good", "fair")
        assert "not a run record" in error("good.json", "fair", "--task", TASK)


def test_as_a_process_without_torch(two: tuple[Path, Path], results: Path) -> None:
    script = (
        "import sys\nfrom densebench.cli import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    arguments = ["compare", *map(str, two), "--results", str(results), "--json"]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["difference"] > 0
    assert done.stderr.split() == ["False"]
