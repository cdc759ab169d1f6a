"""The board that every format shows: ranks, bases, means, shares, profiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.host.errors import DensebenchError
from densebench.records.store import EVIDENCE, beside
from densebench.report.board.board import load_board
from densebench.report.board.tables import Table
from densebench.report.formats.markdown import markdown_page

pytestmark = pytest.mark.usefixtures("own_places")

Keep = Callable[..., Path]
Pictures = Callable[..., Any]


def only_table(results: Path) -> Table:
    (table,) = load_board(results).tables
    return table


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
