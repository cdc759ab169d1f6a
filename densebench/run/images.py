"""The images of a run, found and fingerprinted, without torch."""

from dataclasses import dataclass

from densebench.cards import Found, TaskCard, find_task
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.subset import data_fingerprint, limited, share_of
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.run.options import RunOptions


@dataclass(frozen=True)
class Images:
    """The images of a run.

    Attributes:
        dataset: those that are used.
        fingerprint: of all that they were chosen from.
        limit: of images, if it leaves any out.
    """

    dataset: Dataset
    fingerprint: str
    limit: int | None


def share_asked(task: TaskCard, options: RunOptions) -> str | None:
    """The share of the training images, the command's or else the task's."""
    return task.dataset.subset if options.subset is None else options.subset


def load_images(
    task: Found[TaskCard], options: RunOptions, watcher: Watcher | None = None
) -> Images:
    """Find and fingerprint the images.

    Raises:
        DensebenchError: images that are missing or cannot be read.
    """
    dataset = load_dataset(
        task.card.dataset,
        card_path=task.file,
        data_root=options.data_root,
        train_list=options.train_list,
        val_list=options.val_list,
    )
    chosen, limit = dataset, None
    share = share_asked(task.card, options)
    if share is not None:
        chosen = share_of(dataset, share, options.subset_seed)
    if options.limit is not None:
        cut = limited(chosen, options.limit)
        limit = options.limit if cut != chosen else None
        dataset, chosen = limited(dataset, options.limit), cut
    return Images(chosen, data_fingerprint(dataset, watcher), limit)


def images_at_once(options: RunOptions, watcher: Watcher | None = None) -> Images | None:
    """The images, before torch is imported, so that many of them are told of from the start.

    None where something is wrong with them or with the task, which is told when the run is planned.
    """
    try:
        return load_images(find_task(options.task), options, watcher)
    except (DensebenchError, OSError):
        return None
