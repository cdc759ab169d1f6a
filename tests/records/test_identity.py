import json
from pathlib import Path
from typing import Any

import pytest

from densebench.records.identity import RowKey, column_key, labels, row_key, run_id
from densebench.records.schema import RunRecord
from densebench.records.store import load_records

RUN: dict[str, Any] = {
    "backbone": "f" * 64,
    "task": "a task",
    "dataset": "d" * 64,
    "subset": ("1/8", 42),
    "limit": None,
    "skip_bad": False,
    "protocol": "p" * 64,
    "seed": 0,
    "precision": "fp32",
    "allow_nondeterministic": False,
}


def id_of(record: RunRecord) -> str:
    """From what the record says alone."""
    data = record.dataset
    return run_id(
        backbone=record.backbone.fingerprint,
        task=record.task,
        dataset=data.fingerprint,
        subset=None if data.subset is None else (data.subset, data.subset_seed or 0),
        limit=record.limit,
        skip_bad=record.skip_bad,
        protocol=record.protocol.hash,
        seed=record.seed,
        precision=record.precision,
        allow_nondeterministic=record.allow_nondeterministic,
        layers=record.backbone.layers,
    )


def test_a_record_says_all_that_its_id_is_made_of(tiny_record: RunRecord) -> None:
    assert id_of(tiny_record) == tiny_record.run_id


def test_the_ids_of_committed_records_are_still_those_of_their_runs() -> None:
    results = Path(__file__).parents[2] / "leaderboard" / "results"
    found = load_records(results)
    if not found:
        pytest.skip("the installed package has no records beside it")
    assert all(id_of(record) == record.run_id for _, record in found)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "g" * 64},
        {"task": "another"},
        {"dataset": "e" * 64},
        {"subset": None},
        {"subset": ("own:1/8", 42)},
        {"subset": ("1/8", 43)},
        {"limit": 3},
        {"skip_bad": True},
        {"protocol": "q" * 64},
        {"seed": 1},
        {"precision": "tf32"},
        {"allow_nondeterministic": True},
        {"layers": (2,)},
        {"layers": (2, 5)},
    ],
)
def test_what_can_move_a_number_is_another_run(change: dict[str, Any]) -> None:
    assert run_id(**{**RUN, **change}) != run_id(**RUN)
    assert len(run_id(**RUN)) == 12


def varied(record: RunRecord, **changes: Any) -> RunRecord:
    values = json.loads(record.model_dump_json())
    values["backbone"] |= changes.pop("backbone", {})
    return RunRecord.model_validate({**values, **changes})


def training(seed: int, recipe: str = "r" * 64) -> dict[str, Any]:
    return {
        "base": "base",
        "base_fingerprint": "b" * 64,
        "recipe": "neco",
        "recipe_hash": recipe,
        "seed": seed,
        "steps": 50,
    }


def test_the_row_of_a_backbone_and_of_a_post_training(tiny_record: RunRecord) -> None:
    plain = row_key(tiny_record)
    fingerprint = tiny_record.backbone.fingerprint
    assert plain == RowKey("rgb_s14", (fingerprint,), "fp32", False)
    assert plain.told_weights == fingerprint[:8]
    tuned = [varied(tiny_record, backbone={"training": training(seed)}) for seed in (0, 1)]
    assert row_key(tuned[0]) == row_key(tuned[1])
    assert row_key(tuned[0]).name == "neco of base"
    assert row_key(tuned[0]).told_weights == "r" * 8


def test_rows_of_one_name_are_told_apart_by_what_differs(tiny_record: RunRecord) -> None:
    records = [
        tiny_record,
        varied(tiny_record, precision="tf32"),
        varied(tiny_record, nondeterministic=True),
        varied(tiny_record, backbone={"fingerprint": "0123456789"}),
        varied(tiny_record, backbone={"name": "alone"}),
    ]
    short = tiny_record.backbone.fingerprint[:8]
    assert labels([[(Path(), record)] for record in records]) == [
        f"rgb_s14 (fp32, weights {short})",
        f"rgb_s14 (tf32, weights {short})",
        f"rgb_s14 (fp32, nondeterministic, weights {short})",
        "rgb_s14 (fp32, weights 01234567)",
        "alone",
    ]


def test_layers_make_other_rows_of_one_column_also_of_post_trainings(
    tiny_record: RunRecord,
) -> None:
    chosen = {"layers": [2, 5], "name": "rgb_s14, layers 2+5"}
    layered = varied(tiny_record, backbone=chosen)
    assert column_key(layered) == column_key(tiny_record)
    assert row_key(layered).name == "rgb_s14, layers 2+5"
    training = {
        "base": "b",
        "base_fingerprint": "1" * 64,
        "recipe": "r",
        "recipe_hash": "2" * 64,
        "seed": 0,
        "steps": 3,
    }
    trained = varied(tiny_record, backbone={"training": training})
    of_layers = varied(tiny_record, backbone={"training": training, **chosen})
    assert row_key(trained).name == "r of b"
    assert row_key(of_layers).name == "r of b, layers 2+5"


def test_the_id_of_a_run_of_no_chosen_layers_is_what_it_always_was() -> None:
    assert run_id(**RUN) == run_id(**RUN, layers=None) == "fc9887545de7"
