"""Many runs: which they are, which of them share features, and how they are gone through."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from densebench.cards import find_task
from densebench.host.cores import threads_each
from densebench.host.gpus import usable_gpus
from densebench.host.watcher import Watcher
from densebench.run.apart import ALONE, Outcome, run_apart, words
from densebench.run.crew import Share
from densebench.run.options import RunOptions
from densebench.run.side_by_side import SideBySide


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
    """Each run in processes of its own, in their order; one that fails does not end it.

    On a machine with several GPUs all are used: what shares features goes through one part of them,
    run after run, and other runs through the others at the same time.
    """
    gpus = usable_gpus(runs[0].device) if runs else []
    jobs = sharing_features(runs) if len(gpus) > 1 else ()
    if len(jobs) > 1:
        found = SideBySide(runs, gpus, watcher).outcomes(jobs)
        yield from (found[number] for number in range(len(runs)))
        return
    share = Share(tuple(gpus), threads_each(len(gpus))) if len(gpus) > 1 else ALONE
    if share.processes > 1:
        watcher.say(f"{len(gpus)} GPUs: a process on each; --device cuda:0 takes one alone")
    for number, options in enumerate(runs, start=1):
        watcher.say(f"[{number}/{len(runs)}] {words(options)}")
        yield run_apart(options, watcher, share)
