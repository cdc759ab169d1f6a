"""What lies beside a record is what the record was made with, and a record is as it was written."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench import cli
from densebench.files.atomic import write_atomically
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
    load_records,
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
        assert folder.with_suffix(f".{EVIDENCE}").is_file()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_record(tiny_record, tmp_path, Companions(evidence, panels=fail))
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


STORE = "densebench.records.store"


class Kill:
    """Ends the process at a step: the ``at``-th change of what lies on disk, before it is made."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in ("rename", "replace", "unlink"):
            patch.setattr(Path, name, self.counted(getattr(Path, name)))
        patch.setattr(f"{STORE}.write_atomically", self.counted(write_atomically))
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # who is killed tidies nothing

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return step(*given, **options)

        return made


def other_panels(folder: Path) -> None:
    panels(folder)
    (folder / "more.png").write_bytes(b"more")


@pytest.mark.parametrize("made", [panels, other_panels, None])
def test_a_kill_leaves_the_old_record_the_new_one_or_none(
    tmp_path: Path, tiny_record: RunRecord, evidence: Evidence, made: Any
) -> None:
    first = Companions(evidence, {"head.safetensors": b"head"}, panels)
    second = Companions(evidence, {"head.safetensors": b"other head"}, made)
    left = set()
    for at in range(1, 100):
        results = tmp_path / str(at)
        path = save_record(tiny_record, results, first)
        old = load_record(path).companions
        with pytest.MonkeyPatch.context() as patch:
            kill = Kill(patch, at)
            with suppress(KeyboardInterrupt):
                save_record(tiny_record, results, second)
        found = [record.companions for _, record in load_records(results)]
        left.add("none" if not found else "old" if found == [old] else "new")
        assert all(named.keys() == {EVIDENCE, "head.safetensors", PANELS} for named in found)
        if kill.left > 0:
            break
        save_record(tiny_record, results, second)
        assert len(load_records(results)) == 1
        assert [f for f in path.parent.iterdir() if f.name.startswith(".")] == []
    assert left == {"old", "none", "new"}


def test_what_is_no_longer_as_the_record_named_it_is_not_named_again(
    kept: Path, tmp_path: Path, tiny_record: RunRecord
) -> None:
    (beside(kept, PANELS) / "more.png").write_bytes(b"of somebody else")
    beside(kept, "head.safetensors").write_bytes(b"of somebody else")
    beside(kept, "notes.txt").write_bytes(b"of somebody else")
    assert save_record(tiny_record, tmp_path) == kept
    assert list(load_record(kept).companions) == [EVIDENCE]
    assert not beside(kept, PANELS).exists()


def test_what_lies_there_without_a_record_is_not_named(
    tmp_path: Path, tiny_record: RunRecord
) -> None:
    lying = beside(tiny_record.path(tmp_path), EVIDENCE)
    lying.parent.mkdir(parents=True)
    lying.write_bytes(b"of a run that was killed")
    assert load_record(save_record(tiny_record, tmp_path)).companions == {}
    assert not lying.exists()


def test_what_no_record_can_hold_is_one_line_before_anything_is_written(
    tmp_path: Path, tiny_record: RunRecord, evidence: Evidence
) -> None:
    main = tiny_record.score.main.model_copy(update={"value": math.nan})
    score = tiny_record.score.model_copy(update={"metrics": [main]})
    details = tiny_record.protocol.model_copy(update={"details": {"a": np.float32(1)}})
    for change, told in (
        ({"scores": [score]}, "metrics.0.value"),
        ({"protocol": details}, "numpy"),
    ):
        bad = tiny_record.model_copy(update=change)
        with pytest.raises(DensebenchError, match=told) as caught:
            save_record(bad, tmp_path, Companions(evidence))
        assert str(caught.value).startswith(f"{bad.path(tmp_path)}: the record cannot be written")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


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


def test_exchanged_pictures_are_refused(kept: Path) -> None:
    (beside(kept, PANELS) / "0.truth.png").write_bytes(b"of another run")
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


def test_counts_of_schema_1_are_not_of_a_record_of_schema_2(kept: Path) -> None:
    beside(kept, EVIDENCE).rename(beside(kept, COUNTS))
    assert load_evidence(kept, load_record(kept)) is None


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
