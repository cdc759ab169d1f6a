"""Files of the working directory that are called as modules are: no command takes them for such."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import densebench
from densebench.run.apart import CHILD

PACKAGE = Path(densebench.__file__).parent
STRANGER = "import pathlib; pathlib.Path({place!r}).touch(); raise SystemExit('a stranger')"
NAMES = [
    "PIL", "argparse", "ast", "base64", "calendar", "code", "colorsys", "copy", "csv", "ctypes",
    "dataclasses", "densebench", "email", "faiss", "functools", "huggingface_hub", "importlib",
    "inspect", "json", "logging", "numpy", "open_clip", "pickle", "pydantic", "random", "re",
    "rich", "safetensors", "scipy", "secrets", "shutil", "sklearn", "socket", "statistics",
    "struct", "subprocess", "tempfile", "timm", "token", "tomli", "torch", "torchvision", "typer",
    "types", "typing", "uuid", "yaml", "zipfile",
]  # fmt: skip
FORMS = {"file": "{}.py", "package": "{}/__init__.py"}
SCRIPT = Path(sys.executable).with_name("densebench")


def put_there(folder: Path, name: str, form: str) -> None:
    file = folder / FORMS[form].format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(STRANGER.format(place=f"{folder}/was_run"))


def done_there(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    places = {"DENSEBENCH_CACHE": f"{folder}/.cache", "DENSEBENCH_HOME": f"{folder}/.home"}
    env = {**os.environ, **places}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_a_matrix_takes_none_of_them(tmp_path: Path, name: str, form: str) -> None:
    """Each of its processes begins so; then all the rest is imported, when it is needed."""
    put_there(tmp_path, name, form)
    script = CHILD.replace("sys.exit(child())", f"import {name}; print({name}.__name__)")
    done = done_there(tmp_path, sys.executable, "-c", script, str(PACKAGE))
    assert not (tmp_path / "was_run").exists()
    absent = f"No module named '{name}'" in done.stderr  # one that is not installed here
    assert absent or done.stdout.strip() == name, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="the command is not installed beside Python")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["list", "show rgb_s14", "cache list", "leaderboard --help"])
def test_the_command_takes_none_of_them(tmp_path: Path, command: str, form: str) -> None:
    for name in NAMES:
        put_there(tmp_path, name, form)
    done = done_there(tmp_path, str(SCRIPT), *command.split())
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was_run").exists()
