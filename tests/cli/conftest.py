"""The command in this process or in one of its own, and what it is asked about."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from densebench import cli

COMMAND = (sys.executable, "-m", "densebench.cli")

PLUGIN = """
import os, time
import torch
print("printed on import"); os.write(1, b"written on import\\n")

class Noisy(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        print("printed"); os.write(1, b"written\\n")
        with open("batches.txt", "a") as log:
            log.write(f"{len(images)}\\n")
        time.sleep(float(os.environ.get("PAUSE", 0)))
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def make():
    return Noisy()

def failing():
    model = Noisy()
    model.forward = lambda images: 1 / 0
    return model
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        assert self.code == 2
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert self.err.splitlines()[-1] == lines[0]
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command in this process; as a real one costs seconds for importing torch."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["densebench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def process() -> Cli:
    """The command as a process of its own."""

    def call(*arguments: object, **options: Any) -> Done:
        command = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def score(run: Cli, tiny_task: Path) -> Cli:
    """`densebench run` on the tiny dataset."""

    def call(*arguments: object, backbone: object = "rgb_s14", task: object = tiny_task) -> Done:
        return run("run", "--backbone", backbone, "--task", task, "--device", "cpu", *arguments)

    return call


@pytest.fixture
def spoilt(tmp_path: Path, write_dataset: Callable[..., Path]) -> Path:
    """The card of a dataset of its own, for a test to spoil."""
    return write_dataset(tmp_path / "spoilt")


@pytest.fixture
def write_timm_card(tmp_path: Path) -> Path:
    """The card of timm's smallest vision transformer, whose weights are nowhere."""
    file = tmp_path / "small.toml"
    file.write_text(
        'name = "small"\nsource = "timm"\nid = "test_vit"\npatch_size = 16\nembed_dim = 64\n'
        "prefix_tokens = 1\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"
        'position_embedding = "timm"\nlicense = "none"\ntraining_data = "none"\n'
        '[weights]\nrepo = "nobody/nothing"\nfile = "model.safetensors"\n'
    )
    return file


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return file
