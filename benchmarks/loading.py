"""Seconds to read views, by images and workers: where workers begin to pay.

The drawn scenes, as the validation view of 224 pixels; nothing but reading. A run's own process
has a backbone to feed meanwhile, so that workers pay earlier than here.

python benchmarks/loading.py [WORKERS ...]
"""

import sys
from functools import partial

from timing import alternating, machine

from densebench.cards import find_task
from densebench.datasets import Split, load_dataset
from densebench.datasets.transforms import Squash
from densebench.features.loading import Loader, Views

BATCH, COUNTS, REPEATS = 16, (32, 64, 128, 256), 3
VIEW = Squash(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main(*workers: int) -> None:
    found = find_task("scenes_incontext")
    split = load_dataset(found.card.dataset, card_path=found.file).train
    counts = (0, *(workers or (1, 2)))
    print(f"{machine()}; best of {REPEATS}, workers' start and end included")
    print(f"{'images':>6}" + "".join(f" {count:>3} workers" for count in counts))
    for images in COUNTS:
        part = split.subset(split.names[:images])
        times = alternating({str(count): partial(_read, part, count) for count in counts}, REPEATS)
        print(f"{images:>6}" + "".join(f" {seconds:>9.2f} s" for seconds in times.values()))


def _read(split: Split, workers: int) -> None:
    for _ in Loader(split, workers).batches(Views(split, VIEW, 0, 0), range(len(split)), BATCH):
        pass


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
