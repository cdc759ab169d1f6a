"""A run that is done is told in moments: no torch, no weights, and only if nothing has changed."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from densebench import api
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.run import done, execute
from densebench.run.options import RunOptions

SECONDS = 2.0  # of a processor: how long it takes by the clock is the machine's affair
COMMAND = (
    "import sys\n"
    "from densebench import cli\n"
    "try:\n"
    "    cli.main()\n"
    "except SystemExit as end:\n"
    "    heavy = {'torch', 'timm', 'open_clip', 'faiss', 'sklearn'} & sys.modules.keys()\n"
    "    print(f'loaded: {sorted(heavy)}', file=sys.stderr)\n"
    "    raise\n"
)


@pytest.fixture
def options(own_places: Path, write_dataset: Callable[..., Path], settled: None) -> RunOptions:
    task = write_dataset(own_places / "data")
    return RunOptions("hog_s14", str(task), device="cpu", cache="off", results=Path("results"))


def run(options: RunOptions, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["run", "--backbone", options.backbone, "--task", options.task, "--device", "cpu"]
    words += ["--results", str(options.results), "--cache", "off", *more]
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": str(done.PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_second_time_takes_a_moment_and_no_torch(options: RunOptions) -> None:
    first = run(options)
    assert first.returncode == 0, first.stderr
    assert "'torch'" in first.stderr.splitlines()[-1]
    before = processor_seconds()
    again = run(options)
    spent = processor_seconds() - before
    assert again.returncode == 0, again.stderr
    *_, said, loaded = again.stderr.splitlines()
    assert said.startswith("already done: results/hog_s14/tiny_retrieval/")
    assert loaded == "loaded: []"
    assert spent < SECONDS
    assert again.stdout == first.stdout


@pytest.fixture
def told(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """A run that is done, after which nothing may be computed."""
    api.evaluate_run(options)
    monkeypatch.setattr(execute, "evaluate", lambda *_: pytest.fail("it was run again"))
    return options


def test_it_is_the_record_that_was_left(told: RunOptions) -> None:
    said: list[str] = []
    watcher = Watcher()
    watcher.say = said.append  # type: ignore[method-assign]
    record, path = api.evaluate_run(told, watcher)
    assert path.is_file() and path.stem.endswith(record.run_id)
    assert said == [f"already done: {path} (--overwrite repeats it)"]


def test_a_record_under_another_runs_name_is_not_that_run(options: RunOptions) -> None:
    _, path = api.evaluate_run(options)
    _, other = api.evaluate_run(replace(options, seed=1))
    for ending in (".json", ".evidence.npz"):
        other.with_suffix(ending).write_bytes(path.with_suffix(ending).read_bytes())
    with pytest.raises(DensebenchError, match="not the one of its name"):
        execute.evaluate(replace(options, seed=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"overwrite": True},
        {"limit": 1},
        {"params": {"beta": 0.5}},
        {"variant": "clean"},
        {"results": Path("elsewhere")},
        {"panels": 1},
        {"backbone": "rgb_s14"},
        {"weights": Path("none.safetensors")},
        {"task": "nowhere.toml"},
        {"val_list": Path("data/train.txt")},
    ],
)
def test_what_was_not_done_is_not_known(told: RunOptions, changes: dict[str, object]) -> None:
    assert done.recall(told) is not None
    assert done.recall(replace(told, **changes)) is None


def test_other_images_are_another_run(told: RunOptions) -> None:
    Image.new("RGB", (56, 42), "red").save(Path(told.task).with_name("images") / "picture00.png")
    assert done.recall(told) is None


def test_another_card_is_another_run(told: RunOptions) -> None:
    card = Path(told.task)
    card.write_text(card.read_text().replace("n_neighbours = 4", "n_neighbours = 3"))
    assert done.recall(told) is None


def test_other_code_may_give_another_run(
    told: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "other.py").write_text("")
    monkeypatch.setattr(done, "PACKAGE", tmp_path / "code")
    assert done.recall(told) is None


def test_a_memory_that_is_damaged_is_none(told: RunOptions, own_places: Path) -> None:
    (file,) = (own_places / "cache" / "runs").iterdir()
    for content in ("", "[]", "{}", '{"backbone": 1}'):
        file.write_text(content)
        assert done.recall(told) is None


def test_a_record_that_is_gone_or_edited_is_not_told(told: RunOptions) -> None:
    found = done.recall(told)
    assert found is not None
    text = found[1].read_text()
    found[1].write_text(text.replace('"seed": 0', '"seed": 3'))
    assert done.recall(told) is None
    found[1].unlink()
    assert done.recall(told) is None


PLUGIN = """
import torch

class Plain(torch.nn.Module):
    patch_size, embed_dim = 14, 3

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def build():
    return Plain()
"""


def test_of_a_plug_in_nothing_is_remembered(options: RunOptions, own_places: Path) -> None:
    Path("plain.py").write_text(PLUGIN)
    plugin = replace(options, backbone="plain.py:build")
    api.evaluate_run(plugin)
    assert done.recall(plugin) is None
    assert not (own_places / "cache" / "runs").exists()
