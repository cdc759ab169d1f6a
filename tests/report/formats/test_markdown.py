import re
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest

from densebench.host.errors import DensebenchError
from densebench.records.schema import RunRecord
from densebench.records.store import load_evidence, load_record, load_records, save_record
from densebench.report.board import board as board_module
from densebench.report.board.published import PublishedNumber, load_published
from densebench.report.outputs import write_leaderboard

pytestmark = pytest.mark.usefixtures("own_places")

LINK = re.compile(r"\[[^]]*\]\(([^)]*)\)")
Keep = Callable[..., Path]


def page(results: Path, partial: bool = False, out: Path | None = None) -> str:
    file = out or results.parent / "README.md"
    write_leaderboard(results, file, partial)
    return file.read_text(encoding="utf-8")


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table's rows, without its header; those of tasks alone."""
    others = ("Overall", "Shares", "Backbones")
    parts = [part for part in text.split("\n## ")[1:] if not part.startswith(others)]
    rows = [[line for line in part.splitlines() if line.startswith("| ")] for part in parts]
    return [[[cell.strip() for cell in row[1:-1].split(" | ")] for row in r[2:]] for r in rows]


def names(text: str) -> list[list[str]]:
    return [[row[0] for row in table] for table in tables(text)]


class TestTables:
    def test_equal_protocol_and_data_share_one(self, keep: Keep, results: Path) -> None:
        for name, miou in (("a", 0.3), ("b", 0.5), ("c", 0.4)):
            keep(miou, backbone={"name": name})
        assert names(page(results)) == [["b", "c", "a"]]

    @pytest.mark.parametrize(
        "other",
        [
            {"protocol": {"hash": "f" * 64}},
            {"dataset": {"fingerprint": "f" * 64}},
            {"protocol": {"variant": "clean"}},
            {"task": "another"},
            {"dataset": {"subset": "1/128"}},
            {"dataset": {"skipped": {"image000": "unreadable"}}},
            {"limit": 3},
        ],
    )
    def test_others_never_share_one(self, keep: Keep, results: Path, other: dict[str, Any]) -> None:
        keep(0.3, backbone={"name": "a"})
        keep(0.5, backbone={"name": "b"}, **other)
        assert sorted(names(page(results))) == [["a"], ["b"]]

    def test_published_lists_and_own_shares_never_share_one(
        self, keep: Keep, results: Path
    ) -> None:
        keep(0.3, backbone={"name": "a"}, dataset={"subset": "1/128", "subset_seed": 42})
        keep(0.5, backbone={"name": "b"}, dataset={"subset": "own:1/128", "subset_seed": 42})
        assert sorted(names(page(results))) == [["a"], ["b"]]

    def test_runs_that_skipped_the_same_images_do_and_it_is_said(
        self, keep: Keep, results: Path
    ) -> None:
        for name in "ab":
            keep(backbone={"name": name}, dataset={"skipped": {"image000": name}})
        text = page(results)
        assert names(text) == [["a", "b"]]
        assert "**1 unreadable image left out: image000.**" in text

    def test_other_weights_or_precision_are_another_row(self, keep: Keep, results: Path) -> None:
        keep(0.3)
        keep(0.4, backbone={"fingerprint": "f" * 64})
        keep(0.5, precision="bf16")
        (table,) = tables(page(results))
        assert [row[1][:9] for row in table] == ["[**50.00*", "[<u>40.00", "[30.00](r"]

    def test_the_best_and_the_second_are_marked_in_each(self, keep: Keep, results: Path) -> None:
        for name, miou in (("a", 0.3), ("b", 0.5), ("c", 0.4)):
            keep(miou, backbone={"name": name})
        keep(0.1, task="another")
        first, second = tables(page(results))
        shown = [row[1].partition("](")[0] for row in (*first, *second)]
        assert shown == ["[**10.00**", "[**50.00**", "[<u>40.00</u>", "[30.00"]

    def test_no_record(self, results: Path) -> None:
        results.mkdir(parents=True)
        assert "No records yet" in page(results)

    def test_a_folder_that_is_none_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DensebenchError, match="nowhere"):
            write_leaderboard(tmp_path / "nowhere", tmp_path / "page.md", False)
        assert not (tmp_path / "page.md").exists()

    def test_a_file_that_is_no_record_is_named_and_the_page_left(
        self, keep: Keep, results: Path
    ) -> None:
        keep()
        before = page(results)
        (results / "x.json").write_text("{}")
        with pytest.raises(DensebenchError, match=r"x\.json"):
            page(results)
        assert (results.parent / "README.md").read_text() == before


class TestPartialRuns:
    def test_hidden_unless_asked_for(self, keep: Keep, results: Path) -> None:
        keep(0.5, backbone={"name": "whole"})
        keep(0.9, backbone={"name": "part"}, dataset={"fingerprint": "0"}, partial=True, limit=3)
        assert names(page(results)) == [["whole"]]
        text = page(results, partial=True)
        assert sorted(names(text)) == [["part"], ["whole"]]
        assert text.count("Partial runs") == 1


class TestSeeds:
    MIOUS = (0.40, 0.44, 0.42)

    def test_are_averaged_with_their_deviation(self, keep: Keep, results: Path) -> None:
        paths = [
            keep(miou, seed=seed, score={"pixel_accuracy": 0.1 * (seed + 1)})
            for seed, miou in enumerate(self.MIOUS)
        ]
        keep(0.41, backbone={"name": "b"})
        (table,) = tables(page(results))
        assert [row[0] for row in table] == ["rgb_s14", "b"]
        assert table[0][1].startswith("**42.00** (seeds [0](")
        assert len(LINK.findall(table[0][1])) == 3
        assert table[0][3] == f"± {100 * statistics.stdev(self.MIOUS):.2f} over 3 seeds"
        assert table[0][4] == "20.00"
        assert all(path.is_file() for path in paths)

    def test_one_has_an_interval(self, keep: Keep, results: Path) -> None:
        interval = {"low": 0.25, "high": 0.755, "level": 0.95, "over": "sequences", "n": 5}
        keep(score={"interval": interval})
        text = page(results)
        assert tables(text)[0][0][3] == "[25.00, 75.50]"
        assert "intervals and tests over 5 sequences." in text

    def test_one_of_before_that_excludes_its_own_score_is_not_shown(
        self, keep: Keep, results: Path
    ) -> None:
        interval = {"low": 0.18, "high": 0.25, "level": 0.95, "resamples": 1000, "seed": 0}
        keep(0.31, score={"interval": interval})
        assert tables(page(results))[0][0][3] == ""


class TestLinks:
    @pytest.mark.parametrize(
        "place", ["README.md", "results/x.md", "../pages/a/b.md", "results.md"]
    )
    def test_are_relative_and_lead_to_the_record(
        self, keep: Keep, results: Path, place: str
    ) -> None:
        paths = {keep(0.5), keep(0.4, backbone={"name": "timm:a/b c(d)@e"})}
        out = results.parent / place
        out.parent.mkdir(parents=True, exist_ok=True)
        targets = LINK.findall(page(results, out=out))
        assert len(targets) == 2
        assert not [t for t in targets if t.startswith(("/", "file:")) or " " in t]
        found = {(out.parent / unquote(target)).resolve() for target in targets}
        assert found == {path.resolve() for path in paths}

    def test_a_folder_with_spaces_and_brackets(
        self, tiny_record: RunRecord, tmp_path: Path
    ) -> None:
        folder = tmp_path / "my results (new)"
        path = save_record(tiny_record, folder)
        (target,) = LINK.findall(page(folder, out=tmp_path / "page.md"))
        assert load_record(tmp_path / unquote(target)) == tiny_record
        assert (tmp_path / unquote(target)).resolve() == path.resolve()

    def test_from_a_working_directory_by_relative_paths(
        self, tiny_record: RunRecord, tmp_path: Path
    ) -> None:
        save_record(tiny_record, Path("board/results"))
        (target,) = LINK.findall(page(Path("board/results"), out=Path("docs/page.md")))
        assert (tmp_path / "docs" / unquote(target)).is_file()


class TestPublishedNumbers:
    COMMITTED = Path(__file__).parents[3] / "leaderboard" / "results"
    NUMBER = PublishedNumber(
        task="tiny_retrieval",
        variant="reference",
        backbone="rgb_s14",
        value=12.3,
        n_train=4,
        n_val=2,
        source="somebody",
    )

    def shown(self, results: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
        number = self.NUMBER.model_copy(update=changes)
        monkeypatch.setattr(board_module, "load_published", lambda: (number,))
        cell: str = tables(page(results))[0][0][5]
        return cell

    SHIPPED: ClassVar[dict[str, Any]] = {"as_shipped": True}

    def test_beside_the_run_that_it_fits(
        self, keep: Keep, results: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(protocol=self.SHIPPED)
        assert self.shown(results, monkeypatch) == "*12.3* (somebody)"
        assert self.shown(results, monkeypatch, n_train=None) == "*12.3* (somebody)"
        noted = self.shown(results, monkeypatch, note="no memory size stated")
        assert noted == "*12.3* (somebody; no memory size stated)"

    @pytest.mark.parametrize(
        "changes",
        [
            {"task": "another"},
            {"variant": "clean"},
            {"backbone": "hog_s14"},
            {"n_train": 5},
            {"n_val": 3},
            {"subset": "1/128"},
        ],
    )
    def test_beside_no_other(
        self,
        keep: Keep,
        results: Path,
        monkeypatch: pytest.MonkeyPatch,
        changes: dict[str, Any],
    ) -> None:
        keep(protocol=self.SHIPPED)
        assert self.shown(results, monkeypatch, **changes) == ""

    @pytest.mark.parametrize(
        "run",
        [
            {},  # of a version that did not say
            {"protocol": {"as_shipped": False}},
            {"dataset": {"subset": "own:1/2"}},
            {"dataset": {"skipped": {"image000": "unreadable"}}},
        ],
    )
    def test_beside_no_run_that_is_not_the_task_as_it_ships(
        self, keep: Keep, results: Path, monkeypatch: pytest.MonkeyPatch, run: dict[str, Any]
    ) -> None:
        protocol = {**self.SHIPPED, **run.pop("protocol", {})} if run else {}
        keep(protocol=protocol, **run)
        assert self.shown(results, monkeypatch) == ""

    def test_beside_the_share_that_it_names(
        self, keep: Keep, results: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(protocol=self.SHIPPED, dataset={"subset": "1/128", "subset_seed": 42})
        assert self.shown(results, monkeypatch, subset="1/128") == "*12.3* (somebody)"

    def test_a_linear_run_of_one_epoch_at_another_size_has_none(self) -> None:
        """As it is: the shipped number is for the card, not for what the command changed."""
        number = next(n for n in load_published() if n.task == "voc_linear")
        record = load_record(next(self.COMMITTED.glob("*/scenes_linear/reference-*.json")))
        data = {"n_train": number.n_train, "n_val": number.n_val, "subset": None, "skipped": {}}
        values = record.model_dump() | {"task": number.task, "partial": False}
        values["backbone"] |= {"name": number.backbone}
        values["dataset"] |= data
        values["protocol"] |= {"as_shipped": True}
        assert number.fits(RunRecord.model_validate(values))
        values["protocol"]["params"] |= {"epochs": 1, "input_size": 224}
        values["protocol"] |= {"as_shipped": False}
        assert not number.fits(RunRecord.model_validate(values))

    def test_never_beside_other_weights(
        self, keep: Keep, results: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(backbone={"name": "rgb_s14@mine"}, protocol=self.SHIPPED)
        assert self.shown(results, monkeypatch) == ""

    def test_is_not_marked_as_the_best(
        self, keep: Keep, results: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(0.01, protocol=self.SHIPPED)
        self.shown(results, monkeypatch, value=99.9)
        (table,) = tables(page(results))
        assert table[0][1].startswith("[**1.00**]")


def test_names_that_would_break_the_table_do_not(keep: Keep, results: Path) -> None:
    keep(backbone={"name": "a|b.py:f"})
    (line,) = [line for line in page(results).splitlines() if line.startswith("| a")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 9


class TestSeveralMetrics:
    def test_each_table_has_its_own_unit_and_order(self, mixed: Path) -> None:
        text = page(mixed)
        said = " ".join(text.partition("do not edit.")[2].partition("Brackets")[0].split())
        assert said == (
            "mIoU, pixel accuracy and within 25% in per cent; RMSE in m, lower is better; rows in "
            "the order of mIoU or RMSE."
        )
        sections = {part.split("\n")[0]: part for part in text.split("\n## ")}
        columns = "| backbone | RMSE (m) | better / worse | interval | within 25% |"
        assert columns in sections["depth, reference"]
        assert "classes" not in sections["depth, reference"].split("\n")[2]
        flat, sharp = sections["far, reference"].split("\n")[6:8]
        number = r"0\.\d{3}"
        row = rf"\| flat \| \[\*\*{number}\*\*\]\S+ \| 1 / 0 \| \[{number}, {number}\] \| 60\.00"
        assert re.match(row, flat)
        assert re.search(rf"\| \+{number} flat \[\+{number}, \+{number}\]", sharp)
        assert "RMSE (m) of every column" in sections["Overall, reference, RMSE"]
        assert "mIoU of every column" in sections["Overall, reference, mIoU"]


class TestTextOfRecords:
    HOSTILE = "<script>x</script> [y](javascript:z)\n\n# head | a\\| \x1b[31m"

    def test_is_text_wherever_it_stands(self, keep: Keep, results: Path) -> None:
        card = {"description": self.HOSTILE, "notice": self.HOSTILE, "adapted_from": self.HOSTILE}
        keep(0.4, backbone={"name": self.HOSTILE})
        keep(
            backbone={"name": f"b{self.HOSTILE}", "card": card, "fingerprint": self.HOSTILE},
            dataset={"kind": self.HOSTILE, "fingerprint": self.HOSTILE, "subset": "1/2"},
            protocol={"params": {"k": self.HOSTILE}, "hash": self.HOSTILE, "name": self.HOSTILE},
            task=self.HOSTILE,
            device=self.HOSTILE,
            versions={self.HOSTILE: self.HOSTILE},
        )
        text = page(results)
        assert not re.search(r"<(?!/?(u|details|summary)>)", text)
        assert "](javascript" not in text
        assert "\x1b" not in text
        heads = [line for line in text.splitlines() if line.startswith("#")]
        assert all(line.startswith(("# densebench", "## ")) for line in heads)


class TestCommitted:
    """What is in the repository follows from the records in it."""

    ROOT = Path(__file__).parents[3]

    def test_the_page_is_fresh(self, tmp_path: Path) -> None:
        board = tmp_path / "leaderboard"
        shutil.copytree(self.ROOT / "leaderboard", board)
        kept = (board / "README.md").read_text(encoding="utf-8")
        assert page(board / "results") == kept, "`densebench leaderboard` makes it anew"
        assert kept.splitlines()[2].startswith("Generated by `densebench leaderboard`")

    def test_every_record_has_its_counts(self) -> None:
        records = load_records(self.ROOT / "leaderboard" / "results")
        assert len(records) >= 12
        assert all(load_evidence(path, record) is not None for path, record in records)

    def test_the_readme_shows_a_part_of_it(self) -> None:
        readme = (self.ROOT / "README.md").read_text(encoding="utf-8")
        part = readme.split("<!-- leaderboard -->\n")[1].split("\n<!-- /leaderboard -->")[0]
        shown = part.removeprefix("#").replace("](leaderboard/results/", "](results/")
        assert shown in (self.ROOT / "leaderboard" / "README.md").read_text(encoding="utf-8")
