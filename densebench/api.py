"""The Python API: what the commands do, as functions; what they need is imported on first use.

A backbone is loaded by ``densebench.load_backbone``. Whatever a user can mend is a
``DensebenchError`` of one line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from densebench.host.ranks import process_count
from densebench.host.watcher import Watcher
from densebench.records.store import DEFAULT_RESULTS

if TYPE_CHECKING:
    from densebench.doctor import Finding
    from densebench.posttrain.session import PosttrainOptions
    from densebench.records.schema import ProfileRecord, RunRecord
    from densebench.report.board.pairs import Pair
    from densebench.report.board.reproduced import Reproduction
    from densebench.run.options import RunOptions
    from densebench.run.profile import ProfileOptions


def evaluate(options: "RunOptions", watcher: Watcher | None = None) -> "tuple[RunRecord, Path]":
    """Run a backbone on a task; a run whose record is there is read.

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


def profile(
    options: "ProfileOptions", watcher: Watcher | None = None
) -> "tuple[ProfileRecord, Path]":
    """Measure how fast and how large a backbone is.

    Returns:
        The record, and its file.
    """
    from densebench.run.profile import profile_backbone

    return profile_backbone(options, watcher)


def posttrain(options: "PosttrainOptions", watcher: Watcher | None = None) -> Path:
    """Train a backbone with NeCo on images without labels.

    Returns:
        The new backbone's card.
    """
    from densebench.posttrain import session

    return session.posttrain(options, watcher)


def compare(
    first: str,
    second: str,
    task: str | None = None,
    variant: str = "reference",
    results: Path = DEFAULT_RESULTS,
    partial: bool = False,
) -> "Pair":
    """Two backbones, by name or by the files of their records, on the same images of a task."""
    from densebench.report.board.pairs import compare_backbones

    return compare_backbones(first, second, task, variant, results, partial)


def leaderboard(
    files: Mapping[str, Path], results: Path = DEFAULT_RESULTS, partial: bool = False
) -> int:
    """Write the board of all records in each format asked for: ``{"markdown": file, ...}``.

    Returns:
        How many tables it has.
    """
    from densebench.report.board.board import load_board
    from densebench.report.outputs import write_formats

    board = load_board(results, partial)
    write_formats(board, files)
    return len(board.tables)


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


def examine(data: Path | None = None, results: Path | None = None) -> "list[Finding]":
    """What works on this machine and what does not, each with what mends it."""
    from densebench import doctor

    return doctor.examine(data, results)
