"""What lies beside a record is what the record was made with, and a record is as it was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench import cli
from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence
from densebench.measures.segmentation import class_counts
from densebench.records.schema import RunRecord
from densebench.records.store import (
    COUNTS,
    EVIDENCE,
    PANELS,
    Companions,
    beside,
    load_evidence,
    load_record,
    save_record,
)

pytestmark = pytest.mark.usefixtures("own_places")


def panels(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text("{}")


@pytest.fixture
def evidence(tiny_record: RunRecord) -> Evidence:
    (confusion,) = tiny_record.score.confusion
    whole = class_counts(np.array(confusion)).ravel()
    return Evidence(("a", "b"), np.stack([whole // 3, whole - whole // 3])[None])


@pytest.fixture
def kept(tmp_path: Path, tiny_record: RunRecord, evidence: Evidence) -> Path:
    """A record with all that can lie beside one."""
    with_all = Companions(evidence, {"head.safetensors": b"head"}, panels)
    return save_record(tiny_record, tmp_path, with_all)


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values, indent=1) + "\n")


def test_the_record_names_all_that_lies_beside_it(kept: Path) -> None:
    record = load_record(kept)
    assert sorted(record.companions) == [EVIDENCE, "head.safetensors", PANELS]
    assert all(len(digest) == 64 for digest in [*record.companions.values(), record.checksum])


def test_it_is_written_last(tmp_path: Path, tiny_record: RunRecord, evidence: Evidence) -> None:
    def fail(folder: Path) -> None:
        assert beside(tiny_record.path(tmp_path), EVIDENCE).is_file()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_record(tiny_record, tmp_path, Companions(evidence, panels=fail))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["scores"][0]["metrics"][0].update(value=0.99),
        lambda v: v["scores"][0]["metrics"][0]["interval"].update(low=0.123),
        lambda v: v["scores"][0]["classes"].update(red=1.0),
        lambda v: v["backbone"].update(name="mine"),
        lambda v: v.update(seed=1),
        lambda v: v.update(checksum=""),
        lambda v: v.pop("checksum"),
        lambda v: v.pop("tf32"),
        lambda v: v["companions"].clear(),
    ],
)
def test_an_edited_record_is_refused(kept: Path, change: Any) -> None:
    edit(kept, change)
    with pytest.raises(DensebenchError, match="its checksum differs") as caught:
        load_record(kept)
    assert str(caught.value).startswith(f"{kept}: ")
    assert "\n" not in str(caught.value)


def test_another_layout_of_the_same_values_is_the_same_record(kept: Path) -> None:
    record = load_record(kept)
    kept.write_text(json.dumps(json.loads(kept.read_text()), sort_keys=True))
    assert load_record(kept) == record


@pytest.mark.parametrize("ending", [EVIDENCE, "head.safetensors"])
def test_an_exchanged_companion_is_refused(kept: Path, ending: str) -> None:
    file = beside(kept, ending)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DensebenchError, match="not the file that the record was made") as caught:
        load_record(kept)
    assert str(caught.value).startswith(f"{file}: ")


def test_exchanged_panels_are_refused(kept: Path) -> None:
    (beside(kept, PANELS) / "index.json").write_text("{ }")
    with pytest.raises(DensebenchError, match="panels: not the file that the record"):
        load_record(kept)


@pytest.mark.parametrize("ending", [EVIDENCE, "head.safetensors"])
def test_a_missing_companion_is_not(kept: Path, ending: str) -> None:
    record = load_record(kept)
    beside(kept, ending).unlink()
    assert load_record(kept) == record


def test_evidence_that_the_record_does_not_name_is_refused(kept: Path, tmp_path: Path) -> None:
    content = beside(kept, EVIDENCE).read_bytes()
    alone = save_record(load_record(kept), tmp_path / "other")
    beside(alone, EVIDENCE).write_bytes(content)
    with pytest.raises(DensebenchError, match=r"evidence\.npz: not of the record beside it"):
        load_record(alone)


def test_a_consistent_forgery_is_found_by_the_evidence(
    kept: Path, tmp_path: Path, evidence: Evidence
) -> None:
    """Who makes the checksum anew still has a number that does not follow from the evidence."""
    values = load_record(kept).model_dump()
    values["scores"][0]["metrics"][0]["value"] = 0.99
    forged = save_record(RunRecord.model_validate(values), tmp_path, Companions(evidence))
    record = load_record(forged)
    with pytest.raises(DensebenchError, match="the mIoU of the record beside it does not follow"):
        load_evidence(forged, record)


def test_what_is_not_written_anew_stays_and_counts_of_an_older_version_go(
    kept: Path, tmp_path: Path, evidence: Evidence
) -> None:
    beside(kept, COUNTS).write_bytes(b"of schema 1")
    record = load_record(kept)
    assert save_record(record, tmp_path, Companions(evidence)) == kept
    again = load_record(kept)
    assert again.companions == record.companions
    assert not beside(kept, COUNTS).exists()


def test_a_board_of_an_edited_record_is_an_error_of_one_line(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(kept, lambda v: v["scores"][0]["metrics"][0].update(value=0.99))
    out = tmp_path / "page.md"
    command = ["densebench", "leaderboard", "--results", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert kept.name in capsys.readouterr().err.replace("\n", "")
    assert not out.exists()
