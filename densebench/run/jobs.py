"""Many runs: which they are, which of them share features, and how they are gone through."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from densebench.cards import find_task
from densebench.host.watcher import Watcher
from densebench.run.apart import Outcome, run_apart, words
from densebench.run.options import RunOptions


def wanted_runs(
    base: RunOptions,
    backbones: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    subset_seeds: Sequence[int] | None = None,
) -> list[RunOptions]:
    """Every backbone on every task with every seed; what ``base`` says holds for all.

    With ``subset_seeds``, on each of these parts of the training images.
    """
    return [
        replace(base, backbone=backbone, task=task, seed=seed, subset_seed=subset_seed)
        for task in tasks
        for backbone in backbones
        for seed in seeds
        for subset_seed in subset_seeds or (base.subset_seed,)
    ]


def check_names(backbones: Sequence[str], tasks: Sequence[str]) -> None:
    """Nothing, if every name stands for something; found out before the first run, not between.

    Raises:
        DensebenchError: no such backbone or task.
    """
    from densebench.backbones import card_for, plugin

    for backbone in dict.fromkeys(backbones):
        if card_for(backbone) is None:
            plugin.find_plugin(backbone)
    for task in dict.fromkeys(tasks):
        find_task(task)


def sharing_features(runs: Sequence[RunOptions]) -> tuple[tuple[RunOptions, ...], ...]:
    """The runs in jobs, each a backbone on the images of one dataset, in the order of the first.

    What goes through a job after the other extracts its features once.

    Raises:
        DensebenchError: no such task.
    """
    jobs: dict[tuple[str, str, Path | None], list[RunOptions]] = {}
    for run in runs:
        found = find_task(run.task)
        card = found.card.dataset
        root = None if card.root is None else found.folder / card.root
        jobs.setdefault((run.backbone, card.kind, root), []).append(run)
    return tuple(tuple(job) for job in jobs.values())


def work(runs: Sequence[RunOptions], watcher: Watcher) -> Iterator[Outcome]:
    """One run after the other, each in a process of its own; one that fails does not end it."""
    for number, options in enumerate(runs, start=1):
        watcher.say(f"[{number}/{len(runs)}] {words(options)}")
        yield run_apart(options, watcher)
