import pytest

from densebench.cards import find_task

KINDS = {
    "voc_incontext": "voc",
    "ade20k_incontext": "ade20k",
    "cityscapes_incontext": "cityscapes",
    "coco_things_incontext": "coco_things",
    "coco_stuff_incontext": "coco_stuff",
}


@pytest.mark.parametrize("name", KINDS)
def test_built_in_cards_hold_the_published_parameters(name: str) -> None:
    card = find_task(name).card
    assert (card.dataset.kind, card.dataset.root) == (KINDS[name], None)
    assert card.protocol == "in_context"
    assert card.params == {
        "input_size": "published",
        "memory_size": 10_240_000,
        "augmentation_epochs": 2,
        "augment": True,
        "n_neighbours": 30,
        "beta": 0.02,
    }
