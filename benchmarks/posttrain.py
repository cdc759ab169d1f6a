"""Does NeCo help, and what is each of the published code's choices worth?

A checkpoint is post-trained on photographs without labels, with several recipes and seeds, and
scored on labelled images that no training saw: in-context retrieval (and, if asked for, a linear
head) with paired differences over these images, neighbour consistency, the course of the loss. One
thread a run, --jobs runs at a time. What lies in --out already is not repeated, and a training
that was cut off goes on with its last checkpoint.

python benchmarks/posttrain.py --backbone dinov2_reg_s14 --weights FILE --voc DIR --out DIR
    --train-list memory --val-list query --images FOLDER_OR_LIST [--set KEY=VALUE ...]
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from densebench.backbones import load_backbone
from densebench.cards import find_task, parse_value
from densebench.datasets import load_dataset
from densebench.host.progress import TerminalWatcher
from densebench.host.screen import Console
from densebench.measures.base import Evidence
from densebench.measures.comparison import Comparison, compare_runs
from densebench.posttrain.consistency import neighbour_consistency
from densebench.posttrain.journal import read_journal
from densebench.posttrain.session import PosttrainOptions, posttrain
from densebench.records.schema import RunRecord
from densebench.records.store import load_evidence
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

SIZE, CONSISTENCY_IMAGES = 224, 200
# One choice of the published code after the other undone, and all of them. --set holds for all.
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "student_head": {"model.teacher_head": "student"},
    "exact_queue": {"loss.queue_counter": "exact"},
    "card_positions": {"model.positions": "card"},
    "neco_clean": {"recipe": "neco_clean"},
}
UNBOUNDED = {
    "input_size": SIZE,
    "memory_size": "unbounded",
    "augmentation_epochs": 1,
    "augment": False,
}
ONE_VIEW = {"input_size": SIZE, "augment": False, "views": 1, "batch_size": 32}
RUNS: dict[str, dict[str, Any]] = {
    "voc_incontext": {"variant": "reference", "params": UNBOUNDED, "precision": "fp32"},
    "voc_linear": {"variant": "cached", "params": ONE_VIEW, "precision": "bf16"},
}


@dataclass(frozen=True)
class Measured:
    """One backbone: its records by task, where they lie, its consistency, its training's log."""

    found: dict[str, tuple[RunRecord, Path]]
    consistency: float
    log: Path | None = None

    def miou(self, task: str) -> float:
        """In per cent."""
        return 100 * self.found[task][0].score.value

    def evidence(self, task: str) -> Evidence:
        """Of every image."""
        record, path = self.found[task]
        evidence = load_evidence(path, record)
        assert evidence is not None  # this script made it
        return evidence


def main() -> None:
    options = _options()
    base = _measured(options, options.backbone, options.weights)
    wanted = [*product(options.variants, range(options.seeds))]
    if options.jobs == 1:
        done = [_one(options, *run) for run in wanted]
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            done = [f.result() for f in [pool.submit(_one, options, *run) for run in wanted]]
    size = options.seeds
    after = {v: done[i * size : (i + 1) * size] for i, v in enumerate(options.variants)}
    for task in options.tasks:
        _print_task(task, base, after)
    print(f"\nneighbour consistency: base {base.consistency:.4f}")
    for variant, runs in after.items():
        print(f"  {variant}: {_spread([run.consistency for run in runs], 4)}")
        for run in runs:
            print(f"  loss: {_course(run.log)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--voc", type=Path, required=True)
    parser.add_argument("--train-list", required=True)
    parser.add_argument("--val-list", required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--recipe", help="of all variants but neco_clean [the published one]")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--tasks", nargs="*", choices=RUNS, default=["voc_incontext"])
    parser.add_argument("--set", nargs="*", default=[], dest="overrides")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _one(options: argparse.Namespace, variant: str, seed: int) -> Measured:
    """Train, unless that is done, and measure."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    name = f"{variant}_seed{seed}"
    folder, card = options.out / name, options.out / name / f"{name}.toml"
    if not card.is_file():
        own = dict(VARIANTS[variant])
        recipe = own.pop("recipe", options.recipe)
        pairs = [text.split("=", 1) for text in options.overrides]
        shared = {key: parse_value(value) for key, value in pairs}
        training = PosttrainOptions(
            options.backbone,
            tuple(options.images),
            name,
            weights=options.weights,
            recipe=recipe,
            overrides={**shared, **own, "training.seed": seed},
            out=folder,
            resume=any((folder / "checkpoints").glob("*.pt")),
            register=False,
        )
        posttrain(training, _watcher())
    return _measured(options, str(card), None, folder / "log.jsonl")


def _measured(
    options: argparse.Namespace, backbone: str, weights: Path | None, log: Path | None = None
) -> Measured:
    torch.set_num_threads(1)
    found = {}
    for task in options.tasks:
        run = RunOptions(
            backbone,
            task,
            **RUNS[task],
            weights=weights,
            data_root=options.voc,
            train_list=Path(options.train_list),
            val_list=Path(options.val_list),
            results=options.out / "results",
        )
        found[task] = evaluate(run, _watcher())
    return Measured(found, _consistency(options, backbone, weights), log)


def _watcher() -> TerminalWatcher:
    return TerminalWatcher(Console(stderr=True))


def _consistency(options: argparse.Namespace, backbone: str, weights: Path | None) -> float:
    found = find_task("voc_incontext")
    card, file = found.card, found.file
    val = load_dataset(
        card.dataset,
        card_path=file,
        data_root=options.voc,
        train_list=Path(options.train_list),
        val_list=Path(options.val_list),
    ).val
    images = [val.image(index) for index in range(min(CONSISTENCY_IMAGES, len(val)))]
    model = load_backbone(backbone, weights=weights)
    return neighbour_consistency(model, images, SIZE, torch.device("cpu"))


def _print_task(task: str, base: Measured, after: dict[str, list[Measured]]) -> None:
    """A row a variant: its seeds, and its differences from the base and from the first variant."""
    first = next(iter(after))
    interval = base.found[task][0].score.main.interval_text
    print(f"\n{task}, {RUNS[task]['variant']}, mIoU; base {base.miou(task):.2f} ({interval})\n")
    print(f"| recipe | seeds of the training | against the base | against {first} |")
    print("| --- | --- | --- | --- |")
    for variant, runs in after.items():
        spread = _spread([run.miou(task) for run in runs], 2)
        other = "" if variant == first else _told(_compared(task, runs, after[first]))
        print(f"| {variant} | {spread} | {_told(_compared(task, runs, [base]))} | {other} |")


def _compared(task: str, runs: Sequence[Measured], others: Sequence[Measured]) -> Comparison:
    ours, theirs = ([run.evidence(task).vectors for run in side] for side in (runs, others))
    metric = runs[0].found[task][0].score.main.metric
    assert metric is not None  # the package's own
    return compare_runs(ours, theirs, metric)


def _told(found: Comparison) -> str:
    """A difference in points, its 95% interval, its p-value."""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.difference:+.2f} [{low:+.2f}, {high:+.2f}], p = {found.p:.4f}"


def _spread(values: Sequence[float], digits: int) -> str:
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    if len(values) == 1:
        return each
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{each}: {mean:.{digits}f} ± {deviation:.{digits}f}"


def _course(log: Path | None, parts: int = 8) -> str:
    losses = [line["loss"] for line in read_journal(log or Path()) if "loss" in line]
    size = max(1, len(losses) // parts)
    means = [statistics.mean(losses[i : i + size]) for i in range(0, len(losses), size)]
    return f"{json.dumps([round(m, 3) for m in means])} (means of {size} steps)"


if __name__ == "__main__":
    main()
