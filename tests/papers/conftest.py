"""A published table of two baselines on tiny pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = """name = "tiny"
description = "two [old] baselines"
source = "A paper"
tasks = ["{task}"]
backbones = {backbones}
"""


@pytest.fixture
def suite(tmp_path: Path, tiny_task: Path) -> Callable[..., Path]:
    """Writes a suite of both baselines on a task."""

    def write(*backbones: str, task: object = tiny_task) -> Path:
        file = tmp_path / "suite.toml"
        named = json.dumps(backbones or ("rgb_s14", "hog_s14"))
        file.write_text(SUITE.format(task=task, backbones=named))
        return file

    return write
