"""Does NeCo help? A checkpoint post-trained on photographs without labels, scored before and after.

In-context retrieval and a linear head on labelled images that the training did not see, with a
paired bootstrap over these images, for several seeds of the training; neighbour consistency on
the same images; the course of the loss. What lies in --out already is not repeated.

python benchmarks/posttrain.py --backbone dinov2_reg_s14 --weights FILE --voc DIR --out DIR
    --train-list memory --val-list query --images FOLDER_OR_LIST [--set KEY=VALUE ...]
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from densebench.backbones import load_backbone
from densebench.cards import parse_value, task_card
from densebench.comparison import Comparison, compare_runs
from densebench.counts import load_counts
from densebench.datasets import load_dataset
from densebench.evaluate import RunOptions, evaluate
from densebench.posttrain.consistency import neighbour_consistency
from densebench.posttrain.journal import read_journal
from densebench.posttrain.session import PosttrainOptions, posttrain
from densebench.progress import TerminalWatcher
from densebench.results import RunRecord

SIZE, CONSISTENCY_IMAGES = 224, 200
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
WATCHER = TerminalWatcher(Console(stderr=True))


@dataclass(frozen=True)
class Measured:
    """One backbone: its records by task, where they lie, and its consistency."""

    found: dict[str, tuple[RunRecord, Path]]
    consistency: float


def main() -> None:
    options = _options()
    base = _measured(options, options.backbone, options.weights)
    trained = [_trained(options, seed) for seed in range(options.seeds)]
    after = [_measured(options, str(card), None) for card in trained]
    print(f"| measure | before | after, {options.seeds} seeds | difference, 95% interval, p |")
    print("| --- | --- | --- | --- |")
    for task in RUNS:
        print(_line(task, base, after))
    values = [m.consistency for m in after]
    print(f"| neighbour consistency | {base.consistency:.4f} | {_spread(values, 4)} | |")
    for card in trained:
        print(f"loss of {card.stem}: {_course(card.parent / 'log.jsonl')}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--voc", type=Path, required=True)
    parser.add_argument("--train-list", required=True)
    parser.add_argument("--val-list", required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--recipe")
    parser.add_argument("--set", nargs="*", default=[], dest="overrides")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _trained(options: argparse.Namespace, seed: int) -> Path:
    name = f"neco_seed{seed}"
    folder, card = options.out / name, options.out / name / f"{name}.toml"
    if card.is_file():
        return card
    pairs = [text.split("=", 1) for text in options.overrides]
    overrides = {key: parse_value(value) for key, value in pairs} | {"training.seed": seed}
    return posttrain(
        PosttrainOptions(
            options.backbone,
            tuple(options.images),
            name,
            weights=options.weights,
            recipe=options.recipe,
            overrides=overrides,
            out=folder,
            resume=any((folder / "checkpoints").glob("*.pt")),
        ),
        WATCHER,
    )


def _measured(options: argparse.Namespace, backbone: str, weights: Path | None) -> Measured:
    found = {}
    for task, how in RUNS.items():
        run = RunOptions(
            backbone,
            task,
            **how,
            weights=weights,
            data_root=options.voc,
            train_list=Path(options.train_list),
            val_list=Path(options.val_list),
            results=options.out / "results",
        )
        found[task] = evaluate(run, WATCHER)
    return Measured(found, _consistency(options, backbone, weights))


def _consistency(options: argparse.Namespace, backbone: str, weights: Path | None) -> float:
    card, file = task_card("voc_incontext")
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


def _line(task: str, base: Measured, after: Sequence[Measured]) -> str:
    before, mious = base.found[task][0].score, [m.found[task][0].score.miou for m in after]
    interval = before.interval.text
    compared = _compared(task, base, after)
    return (
        f"| {task}, {RUNS[task]['variant']}, mIoU | {100 * before.miou:.2f} {interval} | "
        f"{_spread([100 * m for m in mious], 2)} | {100 * compared.difference:+.2f} "
        f"[{100 * compared.low:+.2f}, {100 * compared.high:+.2f}], p = {compared.p:.4f} |"
    )


def _compared(task: str, base: Measured, after: Sequence[Measured]) -> Comparison:
    counts = [load_counts(m.found[task][1], m.found[task][0]) for m in (base, *after)]
    first, *others = [c for c in counts if c is not None]
    return compare_runs([c.pixels for c in others], [first.pixels], first.absent)


def _spread(values: Sequence[float], digits: int) -> str:
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    if len(values) == 1:
        return each
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{each}: {mean:.{digits}f} ± {deviation:.{digits}f}"


def _course(log: Path, parts: int = 8) -> str:
    losses = [line["loss"] for line in read_journal(log) if "loss" in line]
    size = max(1, len(losses) // parts)
    means = [statistics.mean(losses[i : i + size]) for i in range(0, len(losses), size)]
    return f"{json.dumps([round(m, 3) for m in means])} (means of {size} steps)"


if __name__ == "__main__":
    main()
