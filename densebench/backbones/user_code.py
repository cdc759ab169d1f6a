"""Code of the user's own: run so that its errors are one line, and asked what it must say."""

import contextlib
import math
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from densebench.backbones.base import Triple
from densebench.cards import LARGEST
from densebench.host.errors import DensebenchError

DRY_RUN_SIZE = 224


@contextlib.contextmanager
def guarded(who: str, file: str = "") -> Iterator[None]:
    """Run a user's code: what it prints goes to stderr, and its errors become one line.

    Running out of memory is passed on as it is, because a smaller batch may help. ``who`` is told,
    with the line of ``file`` where that is on the way.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr), _no_exit():
            yield
    except (DensebenchError, torch.cuda.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if _is(f, file)]
        where = f" at line {lines[-1]}" if lines else ""
        reason = " ".join(str(error).split()) or "no message"
        raise DensebenchError(f"{who}: {type(error).__name__}{where}: {reason}") from error


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    """``os._exit`` would end the run as if it were done; in a process of the plug-in's own it may.

    A code of an exit is in the error's message.
    """
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def _is(frame: traceback.FrameSummary, file: str) -> bool:
    return Path(frame.filename).name == Path(file).name


def check_tensors(module: nn.Module, who: str) -> None:
    """Nothing, if there are numbers in every parameter and buffer.

    Raises:
        DensebenchError: one that is lazy, or on the meta device.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer) or tensor.is_meta:
            kind = "on the meta device" if tensor.is_meta else "lazy"
            raise DensebenchError(
                f"{who}: its {name} is {kind}, so that it has no numbers yet; "
                "build the module whole"
            )


def whole(value: object, key: str, what: str, who: str) -> int:
    """A whole number from 1 on.

    Raises:
        DensebenchError: another value, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise DensebenchError(f"{who}: its module needs {key}, {what}, not {value!r:.40}")
    return value


def three_numbers(key: str, value: Any, who: str) -> Triple:
    """``mean`` or ``std`` of a backbone.

    Raises:
        DensebenchError: no three finite numbers, or a deviation that is not above 0.
    """
    try:
        first, second, third = (float(v) for v in value)
    except (TypeError, ValueError):
        raise DensebenchError(f"{who}: {key} must be three numbers, not {value!r}") from None
    if not all(map(math.isfinite, (first, second, third))):
        raise DensebenchError(f"{who}: {key} must be finite, not {value!r}")
    if key == "std" and min(first, second, third) <= 0:
        raise DensebenchError(f"{who}: std must be above 0, not {value!r}")
    return first, second, third


def dry_run_size(patch_size: int) -> int:
    """Side in pixels of an image to try a module on: about DRY_RUN_SIZE, in whole patches."""
    return max(1, round(DRY_RUN_SIZE / patch_size)) * patch_size
