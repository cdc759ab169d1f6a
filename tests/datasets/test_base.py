from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from densebench.datasets.base import Split
from densebench.datasets.targets import labels


class Never:
    def read(self, file: Path) -> None:
        raise AssertionError(file)

    def rules(self, file: Path) -> bytes:
        return b""


def split_of(names: list[str], order: list[int] | None) -> Split:
    return Split(
        name="train",
        names=tuple(names),
        image_files=tuple(f"{name}.jpg" for name in names),
        mask_files=tuple(f"{name}.png" for name in names),
        reader=Never(),  # type: ignore[arg-type]
        target=labels(("a", "b"), 255),
        order=None if order is None else tuple(order),
        groups=tuple(name[0] for name in names),
    )


@given(st.data())
def test_a_subset_keeps_order_and_groups(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    names = [f"{chr(97 + i % 3)}{i:02d}" for i in range(n)]
    names.sort()
    order = data.draw(st.permutations(range(n)))
    kept = data.draw(st.sets(st.sampled_from(names), min_size=1))
    subset = split_of(names, list(order)).subset(kept)
    listed = [names[i] for i in order if names[i] in kept]
    positions = subset.order or range(len(subset))
    assert [subset.names[i] for i in positions] == listed
    assert (subset.order is None) == (listed == sorted(listed))
    assert subset.groups == tuple(name[0] for name in subset.names)
