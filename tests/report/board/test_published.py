"""Numbers that others published: those that are shipped, and which record each is beside."""

from collections.abc import Callable
from pathlib import Path

import pytest

from densebench import cards
from densebench.protocols import load_protocol
from densebench.records.store import load_record
from densebench.report.board.published import PublishedNumber, load_published

pytestmark = pytest.mark.usefixtures("own_places")


def test_one_of_another_metric_is_beside_no_run(keep: Callable[..., Path]) -> None:
    record = load_record(keep(protocol={"as_shipped": True}))
    number = PublishedNumber(
        task="tiny_retrieval",
        variant="reference",
        backbone="rgb_s14",
        value=12.3,
        n_val=record.dataset.n_val,
        source="somebody",
    )
    assert number.fits(record)
    assert not number.model_copy(update={"metric": "rmse"}).fits(record)


class TestShipped:
    def test_they_name_cards_that_exist(self) -> None:
        numbers = load_published()
        assert len(numbers) > 20
        backbones, tasks = cards.card_names("backbones"), cards.card_names("tasks")
        for number in numbers:
            assert number.backbone in backbones
            assert number.task in tasks
            assert 0 < number.value < 100
            protocol = load_protocol(cards.find_task(number.task).card.protocol)
            assert number.variant in protocol.variants

    def test_no_two_say_the_same(self) -> None:
        told = [
            (n.task, n.variant, n.backbone, n.subset, n.n_train, n.n_val) for n in load_published()
        ]
        assert len(set(told)) == len(told)

    def test_what_the_source_leaves_open_is_said(self) -> None:
        neco = [n for n in load_published() if "NeCo" in n.source and "incontext" in n.task]
        assert len(neco) == 9
        assert {n.told for n in neco} == {"NeCo README at 3932160; no memory size stated"}

    @pytest.mark.parametrize(
        ("task", "backbone", "miou"),
        [
            ("voc_incontext", "dinov2_s14", 77.0),
            ("voc_incontext_1024e2", "dinov2_s14", 70.2),
            ("voc_incontext_1024e3", "dino_b16", 50.8),
            ("voc_incontext", "neco_dinov2_reg_b14", 82.9),
        ],
    )
    def test_some_of_them_as_printed(self, task: str, backbone: str, miou: float) -> None:
        found = [n.value for n in load_published() if (n.task, n.backbone) == (task, backbone)]
        assert found == [miou]
