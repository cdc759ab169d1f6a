"""The files of a sweep: written whole, checked when they are read."""

import json
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.run.options import RunOptions
from densebench.run.sweep.states import Note, Sweep, SweepFolder, holding, is_held, key_of

RUNS = RunOptions("rgb_s14", "scenes_linear"), RunOptions("rgb_s14", "scenes_linear", seed=1)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(place=tmp_path, jobs=(RUNS,))


@pytest.fixture
def files(tmp_path: Path, sweep: Sweep) -> SweepFolder:
    files = SweepFolder(tmp_path / "sweep")
    files.plan(sweep)
    return files


def test_what_is_written_is_read(files: SweepFolder, sweep: Sweep) -> None:
    assert files.read() == sweep
    assert files.note(RUNS[0]) is None
    note = Note(state="failed", reason="no such images")
    files.tell(RUNS[0], note)
    assert (files.note(RUNS[0]), files.note(RUNS[1])) == (note, None)
    files.submit("local:2", "local", {0: "12"})
    files.submit("slurm:partition=gpu", "slurm", {1: "7_0"})
    submitted = files.submitted()
    assert submitted is not None
    assert submitted.on == "slurm:partition=gpu"
    assert {number: (s.kind, s.id) for number, s in submitted.jobs.items()} == {
        0: ("local", "12"),
        1: ("slurm", "7_0"),
    }


def test_options_and_parameters_tell_runs_apart() -> None:
    runs = [*RUNS, RunOptions("rgb_s14", "scenes_linear", params={"epochs": 2})]
    assert len({key_of(run) for run in runs}) == 3
    assert key_of(RUNS[0]) == key_of(RunOptions("rgb_s14", "scenes_linear"))


def test_another_sweep_is_not_overwritten(files: SweepFolder, sweep: Sweep) -> None:
    files.plan(sweep)  # the same may go on
    before = (files.folder / "sweep.json").read_bytes()
    with pytest.raises(DensebenchError, match="holds another sweep; give this one another"):
        files.plan(Sweep(place=sweep.place, jobs=(RUNS[:1],)))
    assert (files.folder / "sweep.json").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(DensebenchError, match="holds something else than a sweep"):
        SweepFolder(tmp_path / "mine").check(sweep)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_names_that_logs_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match="no % in its path"):
        SweepFolder(tmp_path / "100%")


def test_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match=r"no sweep in .*; start one with densebench sweep"):
        SweepFolder(tmp_path).read()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"place": 3}, "sweep.json: key 'place'"),
        ({"jobs": []}, "sweep.json: key 'jobs'"),
        ({"jbos": 1}, "unknown key 'jbos' \\(did you mean 'jobs'"),
        ({"schema_version": 2}, "key 'schema_version'"),
    ],
)
def test_a_plan_that_was_changed(files: SweepFolder, change: dict[str, object], told: str) -> None:
    file = files.folder / "sweep.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DensebenchError, match=told):
        files.read()


@pytest.mark.parametrize("content", ["", "[]", '{"state": "lost"}', "\0", '{"state": "done"'])
def test_notes_that_are_none(files: SweepFolder, content: str) -> None:
    files.tell(RUNS[0], Note(state="running"))
    (note,) = (files.folder / "runs").glob("*.json")
    note.write_text(content)
    with pytest.raises(DensebenchError, match=note.name):
        files.note(RUNS[0])


def test_an_id_that_would_lead_elsewhere(files: SweepFolder) -> None:
    files.submit("local:1", "local", {0: "12"})
    file = files.folder / "submitted.json"
    file.write_text(file.read_text().replace('"12"', '"../../12"'))
    with pytest.raises(DensebenchError, match=r"submitted\.json"):
        files.submitted()


def test_one_driver_at_a_time(files: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.run.sweep.states.PATIENCE", 0.2)
    assert not is_held(files.driver)
    with files.driven():
        assert is_held(files.driver)
        with pytest.raises(DensebenchError, match="another process is at the sweep"):
            files.driven().__enter__()
    with files.driven():
        pass


def test_who_only_looks_at_a_lock_keeps_nobody_out(tmp_path: Path) -> None:
    with holding(tmp_path / "a.lock") as mine, holding(tmp_path / "a.lock") as second:
        assert mine
        assert not second
    assert not is_held(tmp_path / "a.lock")
