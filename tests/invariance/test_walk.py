"""What is not in a run's identity moves no number: every such option, bit for bit for HOG."""

import shutil
import tarfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from densebench.backbones.base import DenseBackbone
from densebench.features.source import PatchSource
from densebench.host.watcher import Watcher
from densebench.run.execute import Run
from densebench.run.options import RunOptions

from .conftest import CASES

# Every option of a run stands in one of these; a new one fails until it does.
IN_IDENTITY: dict[str, Any] = {
    "backbone": "rgb_s14",
    "task": "in_context.toml",
    "variant": "clean",
    "params": {"lr": 0.2},
    "limit": 3,
    "seed": 1,
    "precision": "bf16",
    "skip_bad": True,
    "allow_nondeterministic": True,
    "subset": "own:1/2",
    "subset_seed": 7,
    "layers": (0, 2),
    "random_weights": 1,
}
CHOOSE_CONTENT = {"weights", "data_root", "train_list", "val_list"}  # whose hash is in it
WALKED: dict[str, list[Any]] = {
    "batch_size": [1, 3, 100],
    "workers": [2],
    "cache": ["off"],
    "panels": [2],
    "offline": [True],
    "overwrite": [True],
    "deterministic": [True],
    "search_engine": ["faiss", "torch"],
}
ONLY_RECORDED = {"device", "results", "name"}  # threads: test_threads.py
WALK = [(option, value) for option, values in WALKED.items() for value in values]


def test_every_option_is_in_the_identity_or_in_the_walk() -> None:
    options = {field.name for field in fields(RunOptions)}
    assert options == set(IN_IDENTITY) | CHOOSE_CONTENT | set(WALKED) | ONLY_RECORDED


@pytest.mark.parametrize("option", IN_IDENTITY)
def test_an_option_of_the_identity_makes_another_run(option: str, tasks: Path, blocks: str) -> None:
    value = IN_IDENTITY[option]
    backbone = {"layers": blocks, "random_weights": "dinov2_s14"}.get(option, "hog_s14")
    base: dict[str, Any] = {"backbone": backbone, "task": str(tasks / "linear.toml")}
    if option == "subset_seed":
        base["subset"] = IN_IDENTITY["subset"]
    if option == "random_weights":
        base["random_weights"] = 0
    changed = {**base, option: str(tasks / value) if option == "task" else value}
    ids = {Run(RunOptions(**options), Watcher()).inputs.run_id for options in (base, changed)}
    assert len(ids) == 2


def _cases() -> list[Any]:
    """The variants that no paper compares with come in the second tier.

    So does the retrieval of depth, which is that of labels, and the longest training.
    """
    slow = [pytest.mark.slow]
    later = [c[1] != "reference" or c[0] in ("depth_in_context", "sliding_linear") for c in CASES]
    return [pytest.param(*c, marks=slow if s else []) for c, s in zip(CASES, later, strict=True)]


def test_options_where_layers_are_chosen(run: Callable[..., Any], blocks: str) -> None:
    plain = run("in_context", "reference", "plain", backbone=blocks)
    how = {"backbone": blocks, "layers": (0, 2)}
    expected = run("in_context", "reference", "base", **how)
    assert expected["scores"] != plain["scores"]
    assert expected["protocol"] == plain["protocol"]
    for option, value in WALK:
        changed = run("in_context", "reference", f"{option} {value}", **how, **{option: value})
        assert changed == expected, f"{option} = {value}"


@pytest.mark.parametrize(("protocol", "variant"), _cases())
class TestEveryProtocol:
    def test_options(self, protocol: str, variant: str, run: Callable[..., Any]) -> None:
        expected = run(protocol, variant, "base")
        for option, value in WALK:
            changed = run(protocol, variant, f"{option} {value}", **{option: value})
            assert changed == expected, f"{option} = {value}"

    def test_caches(self, protocol: str, variant: str, run: Callable[..., Any]) -> None:
        cold = run(protocol, variant, "base", results="cold")
        assert run(protocol, variant, "base", results="warm") == cold
        assert run(protocol, variant, "base", results="warm too", batch_size=3) == cold

    def test_other_runs_before_it(
        self, protocol: str, variant: str, run: Callable[..., Any]
    ) -> None:
        expected = run(protocol, variant, "alone")
        for other in CASES:
            run(*other, "after others", results="of others", batch_size=5)
        assert run(protocol, variant, "after others") == expected

    @pytest.mark.parametrize("after", [1, 5, 13, 25])
    def test_an_interruption(
        self,
        protocol: str,
        variant: str,
        after: int,
        run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = run(protocol, variant, "base")
        extract, seen = PatchSource.forward, 0

        def interrupted(source: PatchSource, images: Tensor) -> Tensor:
            nonlocal seen
            seen += len(images)
            if seen > after:
                raise KeyboardInterrupt
            return extract(source, images)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(PatchSource, "forward", interrupted)
            run(protocol, variant, "killed", batch_size=2)
            raise KeyboardInterrupt  # a protocol that needs fewer images is through by now
        assert run(protocol, variant, "killed") == expected

    def test_a_device_that_is_too_small(
        self,
        protocol: str,
        variant: str,
        run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = run(protocol, variant, "base")
        forward = DenseBackbone.forward

        def small(backbone: DenseBackbone, images: Tensor) -> Tensor:
            if len(images) > 3:
                raise torch.cuda.OutOfMemoryError("as told")
            return forward(backbone, images)

        monkeypatch.setattr(DenseBackbone, "forward", small)
        assert run(protocol, variant, "small") == expected

    def test_where_the_data_lie(
        self,
        protocol: str,
        variant: str,
        run: Callable[..., Any],
        tasks: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = run(protocol, variant, "base")
        elsewhere = tmp_path / "elsewhere"
        shutil.copytree(tasks, elsewhere)
        assert run(protocol, variant, "root", data_root=elsewhere) == expected
        with tarfile.open(elsewhere / "files.tar", "w") as archive:
            for name in ("images", "masks"):
                archive.add(elsewhere / name, name)
                shutil.rmtree(elsewhere / name)
        monkeypatch.chdir(elsewhere)
        card = Path(f"{protocol}.toml")
        assert run(protocol, variant, "tar and folder", task=card) == expected
