"""The Python API: what the commands do, as functions; what they need is imported on first use.

A backbone is loaded by ``densebench.load_backbone``. Whatever a user can mend is a
``DensebenchError`` of one line.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densebench.host.ranks import process_count
from densebench.host.watcher import Watcher
from densebench.records.called import DEFAULT_RESULTS

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import nn

    from densebench.backbones.in_memory import Layout
    from densebench.doctor import Finding
    from densebench.posttrain.session import PosttrainOptions
    from densebench.records.ladders import LadderRecord
    from densebench.records.schema import ProfileRecord, RunRecord
    from densebench.report.board.board import Board
    from densebench.report.board.pairs import Pair
    from densebench.report.board.reproduced import Reproduction
    from densebench.report.result import Result
    from densebench.run.options import RunOptions
    from densebench.run.profile import ProfileOptions


def evaluate(
    model: "str | Path | nn.Module",
    task: str | Path,
    *,
    name: str | None = None,
    patch_size: int | None = None,
    layout: "Layout | None" = None,
    prefix_tokens: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    results: str | Path = DEFAULT_RESULTS,
    quiet: bool = False,
    watcher: Watcher | None = None,
    **options: Any,
) -> "Result":
    """Run a backbone on a task; a run whose record is there is read.

    Args:
        model: A card's name or path, ``timm:ID`` and the like, a ``DenseBackbone``, or any module
            that gives features of patches: (B, h, w, D), or arranged as ``layout`` says.
        task: A task card's name or path.
        name: Of a module's row; its class's if not given.
        patch_size: Of a module that does not say it, in pixels.
        layout: Of a module's features: ``BhwD``, ``BDhw``, or ``BND``.
        prefix_tokens: How many of a module's N tokens stand before those of patches.
        mean: By which a module's images are normalised, in [0, 1]; ImageNet's if nobody says.
        std: Likewise.
        results: Where records are kept.
        quiet: Show no progress.
        watcher: Told how it goes, instead of the terminal or the notebook.
        options: Further ones of ``RunOptions``: ``layers`` (blocks, counted from 0), ``variant``,
            ``params``, ``limit``, ``seed``, ``device``, ``batch_size``, ``data_root``, ...

    Raises:
        DensebenchError: bad input, or a run that does not fit into memory.
    """
    from densebench.report.result import Result
    from densebench.run.from_python import as_options

    told = _watching(quiet, watcher)
    chosen = as_options(model, task, name, {**options, "results": results})
    if isinstance(model, str | os.PathLike):
        return Result(*evaluate_run(chosen, told))
    from densebench.run.from_python import evaluate_given

    how = {"layout": layout, "prefix_tokens": prefix_tokens, "mean": mean, "std": std}
    return Result(*evaluate_given(model, chosen, told, patch_size=patch_size, **how))


def evaluate_run(options: "RunOptions", watcher: Watcher | None = None) -> "tuple[RunRecord, Path]":
    """The run that options ask for.

    Returns:
        The record, and its file.
    """
    from densebench.run import done
    from densebench.run.images import images_at_once

    # Of several processes the first one looks, once they are joined.
    images = images_at_once(options, watcher) if process_count() == 1 else None
    known = images and done.recall(options, images)
    if known:
        (watcher or Watcher()).say(done.told(known[1]))
        return known
    from densebench.run import execute

    return execute.evaluate(options, watcher, images)


def evaluate_layers(
    base: "RunOptions", layers: Sequence[int] | None = None, watcher: Watcher | None = None
) -> "list[tuple[RunRecord, Path]]":
    """A run for each layer of a backbone, whose features are extracted in one pass.

    Args:
        base: The backbone, the task, and how to run; its own ``layers`` mean nothing.
        layers: Numbers of blocks, counted from 0; all of them, if none are given.
        watcher: Told how it goes.

    Returns:
        Each layer's record and file, in the order of their numbers.
    """
    from densebench.run import by_layer

    return by_layer.evaluate_layers(base, layers, watcher)


def profile(
    options: "ProfileOptions", watcher: Watcher | None = None
) -> "tuple[ProfileRecord, Path]":
    """Measure how fast and how large a backbone is.

    Returns:
        The record, and its file.
    """
    from densebench.run.profile import profile_backbone

    return profile_backbone(options, watcher)


def posttrain(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    quiet: bool = False,
    watcher: Watcher | None = None,
    **options: Any,
) -> Path:
    """Train a backbone with NeCo on images without labels.

    Args:
        model: A card's name or path, or any other name of a backbone.
        data: A folder of photographs, or several.
        quiet: Show no progress.
        watcher: Told how it goes, instead of the terminal or the notebook.
        options: ``name``, ``recipe``, ``steps``, and further ones of ``PosttrainOptions``.

    Returns:
        The new backbone's card.

    Raises:
        DensebenchError: bad input, a loss that is not finite, or too many unreadable images.
    """
    from densebench.posttrain.simple import posttrain_backbone

    return posttrain_backbone(model, data, watcher=_watching(quiet, watcher), **options)


def posttrain_run(options: "PosttrainOptions", watcher: Watcher | None = None) -> Path:
    """The post-training that options ask for.

    Returns:
        The new backbone's card.
    """
    from densebench.posttrain import session

    return session.posttrain(options, watcher)


def extract(
    model: "str | Path | nn.Module",
    images: Any,
    size: int,
    **how: Any,
) -> "Float[np.ndarray, 'n h w d']":
    """Patch features of images.

    Args:
        model: As for ``evaluate``.
        images: A file, a folder, a Pillow image, an array (h, w, 3) of bytes, or a list of these.
        size: Side in pixels to which each image is resized.
        how: Of a module: ``patch_size``, ``layout``, ``prefix_tokens``, ``mean``, ``std``; and
            ``layers``, ``device``, ``batch_size``.

    Raises:
        DensebenchError: no image, an unreadable one, or a size that the patch does not divide.
    """
    from densebench.features.loose import extract_loose

    return extract_loose(model, images, size, **how)


def compare(
    first: "str | Path | Result",
    second: "str | Path | Result",
    task: str | None = None,
    variant: str = "reference",
    results: str | Path = DEFAULT_RESULTS,
    partial: bool = False,
) -> "Pair":
    """Two backbones on the same images of a task: by name, by their records' files, or as results.

    Raises:
        DensebenchError: no such records, or they are of other images.
    """
    from densebench.report.board.pairs import compare_backbones

    one, other = (str(getattr(side, "path", side)) for side in (first, second))
    return compare_backbones(one, other, task, variant, Path(results), partial)


def leaderboard(
    results: str | Path = DEFAULT_RESULTS, *, partial: bool = False, **files: str | Path
) -> "Board":
    """The board of all records, written in each format that is given a file.

    Args:
        results: Where the records are.
        partial: Show runs on a part of the images too.
        files: ``markdown``, ``html``, ``csv``, ``latex``: where each goes.

    Raises:
        DensebenchError: no such folder or format, or a file that the leaderboard did not make.
    """
    from densebench.report.board.board import load_board
    from densebench.report.outputs import check_formats, check_outputs, write_formats

    chosen = {name: Path(file) for name, file in files.items()}
    check_formats(chosen)
    check_outputs(chosen)
    board = load_board(Path(results), partial)
    write_formats(board, chosen)
    return board


def reproduce(
    suite: str, base: "RunOptions", dry_run: bool = False, watcher: Watcher | None = None
) -> "Reproduction":
    """Run those rows of a paper's table that can be, beside the published numbers.

    Args:
        suite: A suite card's name or path.
        base: How to run; its backbone and task mean nothing.
        dry_run: Only say what there is, and what each row lacks.
        watcher: Told how it goes.
    """
    from densebench.papers.planned import plan_reproduction, run_reproduction

    planned = plan_reproduction(suite, base)
    return planned if dry_run else run_reproduction(planned, base, watcher or Watcher())


def ladder(
    dataset: str,
    base: "RunOptions",
    dry_run: bool = False,
    watcher: Watcher | None = None,
    until: str = "",
) -> "LadderRecord":
    """Run one backbone by every protocol of a ladder, each one change away from the one before.

    Args:
        dataset: One that has a ladder, or a ladder card's path.
        base: The backbone, and how to run; its task, variant and parameters mean nothing.
        dry_run: Only say what there is.
        watcher: Told how it goes.
        until: The last rung that is run; those after it are read where they are there.

    Returns:
        Each rung's number, and what its change is worth on the same images.
    """
    from densebench.papers import climbing

    if dry_run:
        return climbing.plan_ladder(dataset, base)
    return climbing.climb(dataset, base, watcher or Watcher(), until)


def examine(data: Path | None = None, results: Path | None = None) -> "list[Finding]":
    """What works on this machine and what does not, each with what mends it."""
    from densebench import doctor

    return doctor.examine(data, results)


def _watching(quiet: bool, watcher: Watcher | None) -> Watcher:
    """Who is told: somebody's own, nobody, or the terminal or the notebook."""
    if watcher is not None or quiet:
        return watcher or Watcher()
    from densebench.host.progress import TerminalWatcher
    from densebench.host.screen import Console

    return TerminalWatcher(Console(stderr=True))
