"""What runs on pull requests: the files parse, and what they call is there."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BASE = "leaderboard/results/hog_s14/scenes_knn"
NAME = "reference-seed0-0123456789ab"

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="no workflows beside the package")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    write(folder, f"{BASE}/{NAME}.json", f"{BASE}/{NAME}.evidence.npz", "README.md")
    return folder


def write(folder: Path, *names: str) -> str:
    """A commit that changes these files; gives the one before it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("a") as file:
            file.write("x")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "more")
    return git(folder, "rev-list", "--max-parents=0", "HEAD")


def checked(folder: Path, base: str) -> Any:
    """What the check calls; the command itself has tests of its own."""
    command = folder.parent / "bin" / "densebench"
    command.parent.mkdir(exist_ok=True)
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "path $DENSEBENCH_PATH"\n')
    command.chmod(0o755)
    return subprocess.run(
        [ROOT / ".ci" / "submission", base],
        cwd=folder,
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_what_a_workflow_runs_is_there(workflow: Path) -> None:
    values = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert values["permissions"] == {"contents": "read"}
    steps = [step for job in values["jobs"].values() for step in job["steps"]]
    called = [step["run"].split()[0] for step in steps if "run" in step]
    scripts = [ROOT / name.removeprefix(".base/") for name in called if name.startswith(".")]
    assert scripts
    assert all(os.access(script, os.X_OK) for script in scripts)


def test_records_that_differ_are_checked_and_no_others(repository: Path) -> None:
    other = f"{BASE}/clean-seed0-0123456789ab"
    more = (f"{other}.json", f"{other}.head.safetensors", f"{BASE}/cpu-224.profile.json")
    base = write(repository, f"{BASE}/{NAME}.evidence.npz", *more)
    done = checked(repository, base)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "submit",
        "--check",
        f"{other}.json",
        f"{BASE}/{NAME}.json",
        f"path {repository}",
    ]


def test_where_no_record_differs_nothing_is_checked(repository: Path) -> None:
    base = write(repository, "README.md")
    assert checked(repository, base).stdout == "no record differs\n"


def test_pictures_of_a_dataset_are_refused(repository: Path) -> None:
    base = write(repository, f"{BASE}/{NAME}.panels/0.png")
    done = checked(repository, base)
    assert done.returncode == 2
    assert "panels show images" in done.stderr
