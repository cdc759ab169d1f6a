"""Images with their masks."""

from pathlib import Path

import pytest

from densebench.datasets.image_files import Listing
from densebench.datasets.masks import LookupReader
from densebench.datasets.pairing import make_split
from densebench.datasets.targets import labels
from densebench.host.errors import DensebenchError


def listing(folder: str, *names: str) -> Listing:
    return Listing(Path(folder), {name: Path(folder, f"{name}.png") for name in names})


def split(names, images: Listing, masks: Listing, **options):
    reader, target = LookupReader((0,) * 256), labels(("a",), 255)
    return make_split(
        "val", names, images=images, masks=masks, reader=reader, target=target, **options
    )


def test_a_list_is_sorted_and_its_order_remembered() -> None:
    both = listing("images", "a", "b", "c"), listing("masks", "a", "b", "c")
    made = split(["c", "a"], *both, group=str.upper)
    assert made.names == ("a", "c")
    assert made.groups == ("A", "C")
    assert made.image_files == (Path("images/a.png"), Path("images/c.png"))
    assert made.mask_files == (Path("masks/a.png"), Path("masks/c.png"))
    assert made.order is not None
    assert [made.names[index] for index in made.order] == ["c", "a"]
    assert split(None, *both).names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("names", "images", "masks", "told"),
    [
        (None, (), (), "images: no images, so that the val split is empty"),
        (["a", "x"], ("a",), ("a", "x"), "images: 1 of 2 listed images .* missing.*'x'"),
        (None, ("a", "b"), ("a",), "masks: 1 of 2 images .* without a mask.*'b'"),
    ],
)
def test_what_is_not_there(names, images, masks, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        split(names, listing("images", *images), listing("masks", *masks))
