"""Each check is missed by some case: without it, that case is red."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

HANGS = 8.0  # seconds after which a case without its check is taken to hang


def case(file: str, test: str, **asked: Any) -> tuple[str, str, dict[str, Any]]:
    return file, test, asked


# The check, what stands in its place, and a case that needs it.
CHECKS: dict[str, tuple[str, Any, tuple[str, str, dict[str, Any]]]] = {
    "formats": (
        "densebench.datasets.image_files.IMAGE_FORMATS",
        None,
        case("pictures", "test_no_image", command="extract", kind="gif"),
    ),
    "regular files": (
        "densebench.files.regular.stat.S_ISREG",
        lambda mode: True,
        case("pictures", "test_no_image", command="run", kind="zero"),
    ),
    "depth of masks": (
        "densebench.datasets.image_files.UNCHANGED",
        ("L;2", "L", "P", "RGB"),
        case(
            "pictures",
            "test_no_mask",
            command="retrieval",
            kind="grey of 2 bits",
            split="picture01",
        ),
    ),
    "checksums": (
        "densebench.backbones.weights.state_dict.check_parts",
        lambda path: None,
        case("code_and_cards", "test_no_weights", command="extract", kind="flipped", suffix=".pth"),
    ),
    "kinds of weights": (
        "densebench.backbones.weights.state_dict.check_kind",
        lambda *_: None,
        case("code_and_cards", "test_no_weights", command="extract", kind="whole", suffix=".pth"),
    ),
    "bounds": (
        "densebench.cards.models._numbers",
        lambda value: (),
        case(
            "arguments",
            "test_no_value_of_a_parameter",
            command="train",
            key="training.seed",
            value="9" * 30,
        ),
    ),
    "nesting": (
        "densebench.cards.toml._check_depth",
        lambda values: None,
        case(
            "code_and_cards",
            "test_no_toml",
            command="posttrain --backbone net.py:make --recipe bad.toml --name new --data "
            "data/images",
            kind="deep keys",
        ),
    ),
    "exits": (
        "densebench.backbones.user_code._no_exit",
        contextlib.nullcontext,
        case("code_and_cards", "test_no_plug_in", command="extract", kind="leaves"),
    ),
    "tensors": (
        "densebench.backbones.plugin.check_tensors",
        lambda module, target: None,
        case(
            "code_and_cards",
            "test_a_plug_in_that_is_no_backbone",
            command="run",
            key="layer",
            value="nn.Conv2d(3, 4, 14, stride=14, device='meta')",
        ),
    ),
    "whole numbers": (
        "densebench.backbones.plugin.whole",
        lambda value, *_: value,
        case(
            "code_and_cards",
            "test_a_plug_in_that_is_no_backbone",
            command="extract",
            key="patch",
            value="14.0",
        ),
    ),
}


def module_of(file: str) -> Any:
    path = Path(__file__).with_name(f"test_{file}.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_without_a_check_its_case_is_red(
    attempt: Callable, place: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    """What is patched here is patched in the processes that are forked from this one."""
    target, instead, (file, test, asked) = CHECKS[check]
    whole = partial(getattr(module_of(file), test), attempt=partial(attempt, limit=HANGS), **asked)
    judge = partial(whole, place=place) if "place" in signature(whole).parameters else whole
    monkeypatch.setattr(target, instead)
    with pytest.raises(AssertionError, match=r"accepted|hangs|a traceback|exit code|no line"):
        judge()
    monkeypatch.undo()
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(finished, place, symlinks=True, dirs_exist_ok=True)
    judge()
