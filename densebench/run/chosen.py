"""Which validation images panels show: some of every part of the list, and of every group."""

from collections.abc import Sequence

from densebench.datasets import Split


def chosen_images(split: Split, count: int) -> tuple[int, ...]:
    """So many images, spread over the list and over its groups; the same for every backbone.

    One of each group comes before the second of any. Fewer are the first of more, so that runs
    that keep different numbers of panels share images.

    Args:
        split: whose list it is; groups are sequences, cities and the like.
        count: how many; all of a split that has fewer.
    """
    listed = range(len(split)) if split.order is None else split.order
    groups: dict[str, list[int]] = {}
    for image in listed:
        groups.setdefault("" if split.groups is None else split.groups[image], []).append(image)
    members = [[group[place] for place in halving(len(group))] for group in groups.values()]
    ordered = [members[place] for place in halving(len(members))]
    rounds = range(max(map(len, ordered), default=0))
    turns = (group[turn] for turn in rounds for group in ordered if turn < len(group))
    return tuple(image for image, _ in zip(turns, range(count), strict=False))


def halving(n: int) -> Sequence[int]:
    """0 to n - 1, each in the largest gap that those before it leave: 0, 1/2, 1/4, 3/4, ..."""
    bits = max(n - 1, 0).bit_length()
    reverse = (int(f"{k:0{bits}b}"[::-1], 2) if bits else 0 for k in range(1 << bits))
    return list(dict.fromkeys(place * n >> bits for place in reverse)) if n else []
