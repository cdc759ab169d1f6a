"""The board that every format shows: ranks, bases, means, shares, profiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.host.errors import DensebenchError
from densebench.records.store import EVIDENCE, beside, load_evidence, load_record
from densebench.report.board.board import load_board
from densebench.report.board.ranking import Standings
from densebench.report.board.shares import share_tables
from densebench.report.board.tables import Table
from densebench.report.formats.markdown import markdown_page

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
Pictures = Callable[..., Any]


def only_table(results: Path) -> Table:
    (table,) = load_board(results).tables
    return table


def standing(results: Path) -> dict[str, str]:
    return {
        row.label: row.standing.text if row.standing else "" for row in only_table(results).rows
    }


class TestStandings:
    def test_how_many_a_row_is_better_and_worse_than(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        for name, skill, seed in (("a", 0.8, 1), ("b", 0.8, 2), ("c", 0.6, 3)):
            keep(backbone={"name": name}, images=pictures(skill, seed=seed))
        assert standing(results) == {"a": "1 / 0", "b": "1 / 0", "c": "0 / 2"}
        assert only_table(results).untested == ""

    def test_over_seeds_together(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for seed in range(2):
            keep(backbone={"name": "a"}, images=pictures(0.8, seed=seed), seed=seed)
        keep(backbone={"name": "b"}, images=pictures(0.6, seed=5))
        assert standing(results) == {"a": "1 / 0", "b": "0 / 1"}

    def test_none_where_counts_are_missing_and_it_says_whose(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        keep(backbone={"name": "a"}, images=pictures(0.8))
        old = keep(0.2, backbone={"name": "old"})
        table = only_table(results)
        assert [row.standing for row in table.rows] == [None, None]
        assert table.untested.startswith(f"old, {old.name}: no evidence of single images")
        text = markdown_page(load_board(results), results)
        assert f"Not told apart: {table.untested}." in text

    def test_none_where_the_images_are_others(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        keep(backbone={"name": "a"}, images=pictures(0.8))
        keep(backbone={"name": "b"}, images=pictures(0.6, 39))
        assert standing(results) == {"a": "", "b": ""}
        assert only_table(results).untested == "not scored on the same images"

    def test_one_image_says_nothing(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for name in "ab":
            keep(backbone={"name": name}, images=pictures(0.8, 1))
        assert only_table(results).untested == "a single one of the images says nothing of others"

    def test_groups_are_what_is_left_out_and_older_counts_have_those_of_others(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        films = tuple(f"film{i // 4}" for i in range(40))
        keep(backbone={"name": "a"}, images=pictures(0.8), groups=films)
        keep(backbone={"name": "b"}, images=pictures(0.7))
        table = only_table(results)
        found = Standings([row.found for row in table.rows]).compare(0, 1)
        assert found is not None
        assert (found.n, found.over) == (10, "films")

    def test_one_group_says_nothing(self, keep: Keep, results: Path, pictures: Pictures) -> None:
        for name in "ab":
            keep(backbone={"name": name}, images=pictures(0.8, 9), groups=("film",) * 9)
        assert only_table(results).untested == "a single one of the films says nothing of others"

    def test_a_table_that_takes_long_is_told_of(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        told: list[str] = []
        for number in range(11):
            load_board(keep(backbone={"name": f"b{number}"}).parents[2], say=told.append)
        assert told == ["tiny_retrieval, reference: comparing 11 backbones"]

    def test_spoilt_counts_are_an_error(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        path = keep(images=pictures(0.8))
        beside(path, EVIDENCE).write_bytes(b"nothing")
        with pytest.raises(DensebenchError, match=r"evidence\.npz: not the file that the record"):
            load_board(results)

    def test_the_kept_images_are_those_of_the_record(self, keep: Keep, pictures: Pictures) -> None:
        path = keep(images=pictures(0.8, 7))
        counts = load_evidence(path, load_record(path))
        assert counts is not None
        assert counts.vectors.shape == (1, 7, 9)


class TestBases:
    def save(self, keep: Keep, pictures: Pictures, with_counts: bool = True) -> None:
        for name, skill, card in (
            ("base", 0.6, {}),
            ("tuned", 0.7, {"adapted_from": "base"}),
            ("far", 0.5, {"adapted_from": "elsewhere"}),
        ):
            images = pictures(skill, seed=4)
            path = keep(backbone={"name": name, "card": card}, images=images)
            if not with_counts:
                beside(path, EVIDENCE).unlink()

    def test_the_difference_to_the_base_with_its_interval(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        self.save(keep, pictures)
        rows = {row.label: row for row in only_table(results).rows}
        assert rows["base"].base is rows["far"].base is None
        base = rows["tuned"].base
        assert base is not None
        assert base.comparison is not None
        assert base.label == "base"
        assert base.difference == pytest.approx(rows["tuned"].value - rows["base"].value)
        assert base.comparison.low < base.difference < base.comparison.high
        text = markdown_page(load_board(results), results)
        found = base.comparison
        told = f"{100 * base.difference:+.2f} base [{100 * found.low:+.2f}, {100 * found.high:+.2f}"
        assert told in text
        assert "| against its base |" in text

    def test_without_counts_there_is_no_interval(
        self, keep: Keep, results: Path, pictures: Pictures
    ) -> None:
        self.save(keep, pictures, with_counts=False)
        (tuned,) = [row for row in only_table(results).rows if row.label == "tuned"]
        assert tuned.base is not None
        assert tuned.base.comparison is None

    def test_no_column_without_one(self, keep: Keep, results: Path) -> None:
        keep()
        assert "against" not in markdown_page(load_board(results), results)


class TestOverall:
    def test_the_mean_is_blank_where_a_task_is_missing(self, keep: Keep, results: Path) -> None:
        for task, a, b in (("t1", 0.4, 0.9), ("t2", 0.6, None)):
            keep(a, task=task, backbone={"name": "a"})
            if b is not None:
                keep(b, task=task, backbone={"name": "b"})
        (overall,) = load_board(results).overall
        assert [(row.label, row.mean) for row in overall.rows] == [("a", 0.5), ("b", None)]
        assert overall.headings == ("t1", "t2")
        last = markdown_page(load_board(results), results).split("\n\n")[5].splitlines()[-1]
        assert last.startswith("| b | [**90.00**](")
        assert last.endswith(") |  |  |")

    def test_other_protocols_have_columns_of_their_own(self, keep: Keep, results: Path) -> None:
        keep(0.4, backbone={"name": "a"})
        keep(0.6, backbone={"name": "a"}, protocol={"hash": "f" * 64})
        keep(0.8, backbone={"name": "b"}, protocol={"hash": "f" * 64})
        (overall,) = load_board(results).overall
        assert len(set(overall.headings)) == 2
        assert all(heading.startswith("tiny_retrieval (protocol ") for heading in overall.headings)
        assert {row.label: row.mean for row in overall.rows} == {"a": 0.5, "b": None}

    def test_variants_never_mix(self, keep: Keep, results: Path) -> None:
        keep(0.4)
        keep(0.6, protocol={"variant": "clean"})
        assert load_board(results).overall == ()

    def test_shares_of_the_training_images_stay_out(self, keep: Keep, results: Path) -> None:
        keep(0.4)
        keep(0.4, task="t2")
        keep(0.1, dataset={"subset": "1/2", "n_train": 2})
        (overall,) = load_board(results).overall
        assert overall.rows[0].mean == pytest.approx(0.4)


class TestLabels:
    def test_rows_of_one_name_are_told_apart(self, keep: Keep, results: Path) -> None:
        keep(0.5)
        keep(0.4, precision="bf16")
        assert [row.label for row in only_table(results).rows] == [
            "rgb_s14 (fp32)",
            "rgb_s14 (bf16)",
        ]

    def test_notices_are_seen(self, keep: Keep, results: Path) -> None:
        keep(backbone={"card": {"description": "drawn at random", "notice": "Not pretrained."}})
        text = markdown_page(load_board(results), results)
        assert "**rgb_s14:** Not pretrained." in text.partition("<details>")[0]
        assert "- rgb_s14: drawn at random **Not pretrained.**" in text


class TestShares:
    def save(self, keep: Keep) -> None:
        keep(0.8)
        for seed, (miou, other) in enumerate(((0.5, 0.1), (0.6, 0.2))):
            data = {"subset": "1/2", "subset_seed": seed, "n_train": 2}
            keep(miou, dataset=data)
            keep(other, dataset=data, backbone={"name": "b"})
        keep(0.3, dataset={"subset": "1/4", "subset_seed": 0, "n_train": 1})
        keep(0.7, dataset={"subset": "own:1/2", "subset_seed": 0, "n_train": 2})

    def test_seeds_of_a_share_are_one_row_of_one_column(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        board = load_board(results)
        (half,) = [t for t in board.tables if t.record.dataset.subset == "1/2"]
        assert half.title == "tiny_retrieval, reference, 1/2 of the training images"
        first, second = half.rows
        assert (first.label, second.label) == ("rgb_s14", "b")
        assert [round(row.value, 9) for row in half.rows] == [0.55, 0.15]
        assert first.deviation == pytest.approx(np.std([0.5, 0.6], ddof=1))
        assert first.spread == "2 draws"
        text = markdown_page(board, results)
        assert "**55.00** (draws [0](" in text
        assert "± 7.07 over 2 draws" in text

    def test_published_lists_and_own_shares_are_two_tables(self, keep: Keep, results: Path) -> None:
        self.save(keep)
        board = load_board(results)
        lists, own = share_tables(board.tables)
        assert lists.shares == ("1/4", "1/2", "1/1")
        assert own.shares == ("own:1/2", "1/1")
        (first, cells), (second, others) = lists.rows
        assert (first, second) == ("rgb_s14", "b")
        assert [cell and round(cell.value, 9) for cell in cells] == [0.3, 0.55, 0.8]
        assert others[0] is others[2] is None
        assert "± 7.07 over 2 draws" in markdown_page(board, results).split("## Shares")[1]

    def test_no_table_without_shares(self, keep: Keep, results: Path) -> None:
        keep()
        assert share_tables(load_board(results).tables) == []


class TestProfiles:
    def test_shown_where_all_rows_are_measured_on_one_device(
        self, keep: Keep, results: Path, keep_profile: Keep
    ) -> None:
        keep()
        keep(backbone={"name": "b", "fingerprint": "f" * 64})
        mine = keep_profile()
        assert only_table(results).profile_device is None
        keep_profile(backbone="b", fingerprint="f" * 64, device="cuda (some)")
        assert only_table(results).profile_device is None
        keep_profile(backbone="b", fingerprint="f" * 64, images_per_second=9.0)
        table = only_table(results)
        assert table.profile_device == "cpu (some)"
        text = markdown_page(load_board(results), results)
        assert "| images/s on cpu (some) | GFLOPs |" in text
        assert f"[123.5]({mine.relative_to(results).as_posix()}) | 6.8 |" in text.replace(
            "%20", " "
        )
        keep_profile(device="cuda (some)")
        assert only_table(results).profile_device == "cuda (some)"

    @pytest.mark.parametrize(
        "changes", [{"size": 56}, {"precision": "bf16"}, {"fingerprint": "0" * 64}]
    )
    def test_another_size_precision_or_weights_is_not_this_row(
        self, keep: Keep, results: Path, keep_profile: Keep, changes: dict[str, Any]
    ) -> None:
        keep()
        keep_profile(**changes)
        assert only_table(results).profile_device is None

    def test_a_file_that_is_no_profile_is_named(
        self, keep: Keep, results: Path, keep_profile: Keep
    ) -> None:
        keep()
        path = keep_profile()
        path.write_text("{}")
        with pytest.raises(DensebenchError, match=r"profile\.json: missing key"):
            load_board(results)
