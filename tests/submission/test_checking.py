"""What is wrong with a record and what lies beside it, all of it at once."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.submission.checking import check_records, found_records


def problems(*places: Path, in_place: bool = False) -> list[str]:
    checked = check_records(found_records(places), in_place)
    return [line for one in checked for line in one.problems]


def test_runs_as_they_were_made_have_no_problem(results: Path) -> None:
    assert problems(results, in_place=True) == []


def test_an_edited_number_is_named_with_its_file(edit: Callable, results: Path) -> None:
    file = edit("scores", 0, "metrics", 0, "value", to=0.99, sealed=False)
    edited, number = problems(results)
    assert edited == f"{file}: edited: its checksum is not of what it says"
    assert number.startswith(f"{file}: scores[0].metrics[0] (miou).value is 0.99, and its evidence")


def test_all_problems_of_all_records_are_told(edit: Callable, results: Path) -> None:
    first = edit("partial", to=True)
    second = edit("protocol", "params", "lr", to=5.0, task="tiny_linear")
    told = problems(results)
    assert {line.partition(":")[0] for line in told} == {str(first), str(second)}
    assert any("partial: made with --limit" in line for line in told)
    assert any("protocol.params.lr is 5.0, and task tiny_linear ships with" in li for li in told)


@pytest.mark.parametrize("task", ["tiny_retrieval", "tiny_linear"])
def test_what_lies_beside_it_must_be_there_as_it_was(
    record_file: Callable, results: Path, task: str
) -> None:
    ending = "evidence.npz" if task == "tiny_retrieval" else "head.safetensors"
    file = record_file(task).with_suffix(f".{ending}")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert f"{file}: edited: not the file that the record was made with" in problems(results)
    file.unlink()
    assert problems(results) == [f"{file}: missing, and the record names it"]
    file.symlink_to("/etc/hostname")
    assert problems(results) == [f"{file}: a link; give the file itself"]
    file.unlink()
    os.mkfifo(file)
    (told,) = problems(results)
    assert told.startswith(f"{file}: cannot be read")


def test_panels_may_stay_at_home(record_file: Callable, results: Path) -> None:
    shutil.rmtree(record_file().with_suffix(".panels"))
    assert problems(results) == []


def test_one_run_is_submitted_once(record_file: Callable, results: Path) -> None:
    file = record_file()
    for part in list(file.parent.glob(f"{file.stem}.*")):
        copy = part.with_name(part.name.replace("reference", "again"))
        (shutil.copytree if part.is_dir() else shutil.copy)(part, copy)
    (told,) = problems(results)
    assert "the same run as" in told
    assert sum("its place is" in line for line in problems(results, in_place=True)) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("no json", "not a run record"),
        ("[]", "it holds no JSON object"),
        ("{}", "of schema None"),
        ('{"schema_version": 1}', "repeat the run with --overwrite"),
        ('{"schema_version": 2}', "missing key 'run_id'"),
    ],
)
def test_what_is_no_record(results: Path, content: str, told: str) -> None:
    file = results / "stray.json"
    file.write_text(content)
    (problem,) = problems(results)
    assert str(file) in problem
    assert told.lower() in problem.lower()


def test_places_without_records_are_refused(tmp_path: Path, record_file: Callable) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DensebenchError, match="no record lies there"):
        found_records([tmp_path / "empty"])
    for place in (tmp_path / "nowhere", record_file().with_suffix(".evidence.npz")):
        with pytest.raises(DensebenchError, match=r"no record \(a \.json file\)"):
            found_records([place])
    assert found_records([record_file(), record_file().parent]) == [record_file()]


def test_a_link_is_no_record(tmp_path: Path, record_file: Callable) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(record_file())
    assert problems(link) == [f"{link}: a link; give the record itself"]
