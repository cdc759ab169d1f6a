"""The task cards against what the published data modules and configs do."""

import pytest

from densebench.cards import find_task
from densebench.datasets import classes as tables
from densebench.protocols import load_protocol, task_params
from densebench.protocols.base import Setting
from densebench.protocols.overclustering import Overclustering
from densebench.protocols.sliding_linear import SlidingLinearParams

CLASSES = {
    "voc": tables.voc_classes(),
    "ade20k": tables.ade20k_classes(),
    "coco_things": tables.supercategory_classes(tables.coco_things()),
    "coco_stuff": tables.supercategory_classes(tables.coco_stuff()),
    "cityscapes": tables.cityscapes_classes(),
}
# Classes, the ignored one, shuffled, last training batch dropped, last validation batch dropped.
LINEAR = {
    "voc": (21, 255, False, True, True),
    "ade20k": (151, 0, False, False, False),
    "coco_things": (12, 255, True, True, False),
    "coco_stuff": (15, 255, True, True, False),
    "cityscapes": (19, 255, True, False, False),
}
CLUSTERED = ("voc", "ade20k", "coco_things", "coco_stuff")
TASKS = [f"{kind}_overcluster{ending}" for kind in CLUSTERED for ending in ("", "_gt")]


@pytest.mark.parametrize("kind", LINEAR)
def test_linear(kind):
    found = find_task(f"{kind}_linear")
    card, file = found.card, found.file
    params = task_params(card, str(file))
    n_classes, ignored, *loaders = LINEAR[kind]
    assert card.dataset.kind == kind
    assert len(CLASSES[kind].names) == n_classes
    assert CLASSES[kind].ignore_index == ignored
    assert [params.shuffle, params.drop_last, params.drop_last_val] == loaders
    assert (params.input_size, params.mask_size, params.score_size) == (448, 100, "mask")
    assert (params.epochs, params.drop_at, params.batch_size) == (25, 20, 128)
    assert (params.optimiser, params.lr, params.momentum) == ("sgd", 0.01, 0.9)
    assert (params.weight_decay, params.head, params.augment) == (1e-4, "linear", True)
    tenth = card.dataset.subset is not None and card.dataset.subset.endswith("1/10")
    assert tenth == kind.startswith("coco")


@pytest.mark.parametrize("kind", [*CLASSES, "camvid", "scenes"])
@pytest.mark.parametrize("protocol", ["knn", "logreg"])
def test_capis_classifiers(kind, protocol):
    """Everything as published, said on the card or not."""
    found = find_task(f"{kind}_{protocol}")
    assert (found.card.dataset.kind, found.card.protocol) == (kind, protocol)
    params = task_params(found.card, str(found.file))
    assert params == load_protocol(protocol).Params()
    assert (params.input_size, params.resize, params.subsampling) == (224, "bicubic", 1)
    assert params.standardisation == "StandardScaler"
    assert (found.card.dataset.subset == "own:1/10") == kind.startswith("coco")


@pytest.mark.parametrize("name", [*TASKS, "voc_overcluster_300"])
def test_overclustering(name):
    found = find_task(name)
    card, file = found.card, found.file
    params = task_params(card, str(file))
    kind, _, ending = name.partition("_overcluster")
    clusters = {"": 500, "_gt": "classes", "_300": 300}[ending]
    assert (card.dataset.kind, params.K) == (kind, clusters)
    assert (params.input_size, params.mask_size, params.pca_dim) == (448, 100, 50)
    assert (params.seeds, params.niter, params.nredo) == (5, 100, 5)
    assert (params.points_per_centroid, params.batch_size) == (256, 32)
    assert params.drop_last_val == (kind == "voc")
    classes = CLASSES[kind]
    setting = Setting(classes.target, 14, 64, (0, 0, 0), (1, 1, 1))
    scoring = Overclustering(params, setting).scoring
    assert scoring.matching == ("hungarian" if ending == "_gt" else "precision")
    assert scoring.n_predicted == (len(classes.names) if ending == "_gt" else clusters)
    assert scoring.absent == "zero"


SLIDING = ("voc", "ade20k", "cityscapes", "coco_things", "coco_stuff", "camvid", "pascal_context")


@pytest.mark.parametrize("kind", SLIDING)
def test_sliding_linear(kind):
    """As published, and so short that a CPU can do it; never in one column."""
    cards = [find_task(f"{kind}_sliding_linear{ending}") for ending in ("", "_1k")]
    published, short = (task_params(found.card, str(found.file)) for found in cards)
    assert published == SlidingLinearParams()
    assert [found.card.dataset.kind for found in cards] == [kind, kind]
    assert cards[0].card.dataset == cards[1].card.dataset
    assert short == SlidingLinearParams(steps=1_000, warmup=38, batch_size=8)
    assert short.warmup == round(published.warmup * short.steps / published.steps)
