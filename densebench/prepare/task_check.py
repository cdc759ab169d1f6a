"""Is the data of a task what its card says: pairs, sizes, ids, and the share of each class."""

from pathlib import Path

from densebench.cards import Found, TaskCard
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.base import Split
from densebench.datasets.folder import both_listings
from densebench.datasets.kind import dataset_kind
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.verify import SPLITS, Report, SplitReport, check_files, shortened

MOST_SHOWN = 20


def verify_task(
    task: Found[TaskCard],
    data_root: Path | None = None,
    quick: bool = False,
    watcher: Watcher | None = None,
) -> Report:
    """Check all images and masks of a task, whatever its kind of labels.

    Args:
        task: its card.
        data_root: where the data lies, if not where the card says.
        quick: read a sample of the files.
        watcher: is told of progress.

    Raises:
        DensebenchError: the task's maps hold no labels. All else that is wrong is in the report.
    """
    report = Report(task.card.name, str(task.file), quick)
    report.problems += shortened(_unpaired(task, data_root), MOST_SHOWN)
    try:
        dataset = load_dataset(task.card.dataset, card_path=task.file, data_root=data_root)
    except DensebenchError as error:
        report.problems.append(str(error))
        return report
    if not dataset.target.is_labels:
        raise DensebenchError(
            f"task {task.card.name}: its maps hold {dataset.target.kind}, and labels are checked"
        )
    report.place = str(dataset.root)
    for name in SPLITS:
        split: Split = getattr(dataset, name)
        report.splits[name] = SplitReport(len(split), len(split))
        check_files(split, report, watcher or Watcher(), MOST_SHOWN)
    report.problems += _overlap(dataset)
    report.problems += _unseen(report)
    return report


def _unpaired(task: Found[TaskCard], data_root: Path | None) -> list[str]:
    """Images without a mask and masks without an image, of a folder of one's own."""
    card = task.card.dataset
    if card.kind != "folder":
        return []
    try:
        root = dataset_kind(card.kind).find_root(card, task.file, data_root)
        images, masks = both_listings(card, root)
    except DensebenchError:
        return []  # it is told when the dataset is loaded
    lone = sorted(images.files.keys() - masks.files.keys())
    left = sorted(masks.files.keys() - images.files.keys())
    return [
        *(f"{images.files[name]}: no mask {name}.png in {masks.folder}" for name in lone),
        *(f"{masks.files[name]}: no image of that name in {images.folder}" for name in left),
    ]


def _overlap(dataset: Dataset) -> list[str]:
    both = sorted(set(dataset.train.names) & set(dataset.val.names))
    if not both:
        return []
    return [f"{len(both):,} images are in both splits, the first is '{both[0]}'"]


def _unseen(report: Report) -> list[str]:
    """Classes of which no pixel is left to learn from, or to be scored."""
    if report.quick or any(split.checked < split.images for split in report.splits.values()):
        return []
    return [
        f"{name}: no pixel of {', '.join(absent)}"
        for name, split in report.splits.items()
        if (absent := [label for label, pixels in split.pixels.items() if not pixels])
    ]
