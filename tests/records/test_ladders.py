"""A ladder beside its records: written, read again, and no run record."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.records.ladders import LadderRecord, RungRecord, load_ladders, save_ladder
from densebench.records.store import load_records


def made(**facts) -> LadderRecord:
    rung = RungRecord(
        name="one", protocol="knn", task="t", variant="clean", factor="", changes=(), told=()
    )
    known = {"ladder": "l", "description": "", "backbone": "a/b", "seed": 2, "partial": False}
    return LadderRecord(**{**known, "rungs": (rung,), **facts})


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole, partial = made(), made(partial=True)
    paths = [save_ladder(record, tmp_path) for record in (whole, partial)]
    assert paths[0] == tmp_path / "a_b" / "ladders" / "l-seed2.ladder.json"
    assert sorted(load_ladders(tmp_path), key=lambda found: found.partial) == [whole, partial]
    assert load_records(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ladder": 1}', "no"])
def test_what_is_no_ladder_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.ladder.json").write_text(text)
    with pytest.raises(DensebenchError, match=r"x\.ladder\.json") as caught:
        load_ladders(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seed": 2', '"seed": 3'), ('"factor": ""', '"factor": "x"'), ("checksum", "x")],
)
def test_an_edited_ladder_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = save_ladder(made(), tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DensebenchError, match=rf"{path.name}: (not as it was|unknown key 'x')"):
        load_ladders(tmp_path)
