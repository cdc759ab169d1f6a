"""Code of the user's own, run and asked."""

import os
import sys

import pytest
import torch

from densebench.backbones.user_code import (
    check_tensors,
    dry_run_size,
    guarded,
    three_numbers,
    whole,
)
from densebench.host.errors import DensebenchError


def test_errors_are_one_line_and_prints_go_aside(capsys: pytest.CaptureFixture[str]) -> None:
    told = r"^mine: ZeroDivisionError: division by zero$"
    with pytest.raises(DensebenchError, match=told), guarded("mine"):
        print("noise")
        _ = 1 / 0
    assert capsys.readouterr() == ("", "noise\n")


def test_a_line_of_its_file_is_told() -> None:
    told = r"mine: KeyError at line \d+"
    with pytest.raises(DensebenchError, match=told), guarded("mine", __file__):
        _ = {}["a"]


@pytest.mark.parametrize("leave", [lambda: os._exit(0), lambda: sys.exit(0)])
def test_leaving_is_an_error(leave) -> None:
    with pytest.raises(DensebenchError, match="mine: SystemExit"), guarded("mine"):
        leave()


def test_ours_and_a_full_gpu_pass() -> None:
    for error in (DensebenchError("ours"), torch.cuda.OutOfMemoryError("full")):
        with pytest.raises(type(error)), guarded("mine"):
            raise error


@pytest.mark.parametrize("value", [None, 0, -1, 1.5, "14", True, 10**12])
def test_no_whole_number(value: object) -> None:
    with pytest.raises(DensebenchError, match="patch_size"):
        whole(value, "patch_size", "a number", "mine")


@pytest.mark.parametrize("value", [None, (1, 2), "abc", (1, 2, float("nan")), (1, 1, 0)])
def test_no_three_numbers(value: object) -> None:
    with pytest.raises(DensebenchError, match="std"):
        three_numbers("std", value, "mine")


def test_parameters_have_numbers() -> None:
    check_tensors(torch.nn.Linear(1, 1), "mine")
    with torch.device("meta"):
        empty = torch.nn.Linear(1, 1)
    with pytest.raises(DensebenchError, match="mine: its weight is on the meta device"):
        check_tensors(empty, "mine")


@pytest.mark.parametrize(("patch", "side"), [(14, 224), (16, 224), (13, 221), (300, 300)])
def test_an_image_to_try_on_is_whole_patches(patch: int, side: int) -> None:
    assert dry_run_size(patch) == side
