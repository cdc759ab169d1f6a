"""What a protocol says that it needs is what it takes."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from densebench.host.watcher import Advance, Watcher
from densebench.protocols.base import Needs, ProtocolParams
from densebench.records.store import load_record
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")

FIT = "input_size = 28\nC = [1.0]\n"
NEIGHBOURS = 'input_size = 28\nks = [1]\ndistances = ["L2"]\n'
DEPTH = {
    "depth_linear": "input_size = 28\ncrop = 28\ntrain_box = 'full'\neval_box = 'full'\n"
    "steps = 4\nwarmup_steps = 1\nbatch_size = 3\n",
    "depth_in_context": "input_size = 28\nn_neighbours = 2\n",
}
CLUSTERS = "input_size = 28\nmask_size = 28\nK = 3\npca_dim = 3\nseeds = 2\n"


class Counting(Watcher):
    """Counts the images of each phase that has a total, and those that pass."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.passed: Counter[str] = Counter()

    def advance(self, phase: str, done: int) -> None:
        self.passed[phase] += done

    @contextmanager
    def phase(
        self, name: str, total: int | None, unit: Any = "images", done: int = 0
    ) -> Iterator[Advance]:
        if total is not None:
            self.totals[name] = total
        yield lambda n: self.advance(name, n)


@pytest.fixture
def cards(
    tmp_path: Path, write_dataset: Callable[..., Path], write_depth: Callable[..., Path]
) -> dict[str, Path]:
    folder = write_dataset(tmp_path / "data").parent
    found = {"in_context": folder / "retrieval.toml", "linear": folder / "linear.toml"}
    head = found["linear"].read_text().split("[params]")[0].replace('"linear"', '"overclustering"')
    found["overclustering"] = folder / "clusters.toml"
    found["knn"] = folder / "knn.toml"
    found["knn"].write_text(f"{head.replace('overclustering', 'knn')}[params]\n{NEIGHBOURS}")
    found["logreg"] = folder / "logreg.toml"
    found["logreg"].write_text(f"{head.replace('overclustering', 'logreg')}[params]\n{FIT}")
    found["overclustering"].write_text(f"{head}[params]\n{CLUSTERS}")
    for protocol, params in DEPTH.items():
        found[protocol] = write_depth(folder, protocol, params)
    return found


@pytest.mark.parametrize(
    ("protocol", "variant"),
    [
        ("in_context", "reference"),
        ("in_context", "clean"),
        ("linear", "reference"),
        ("linear", "clean"),
        ("linear", "cached"),
        ("overclustering", "reference"),
        ("overclustering", "clean"),
        ("knn", "reference"),
        ("knn", "clean"),
        ("logreg", "reference"),
        ("logreg", "clean"),
        ("depth_linear", "reference"),
        ("depth_linear", "clean"),
        ("depth_in_context", "reference"),
    ],
)
def test_as_many_images_pass_as_it_says(
    protocol: str, variant: str, cards: dict[str, Path], tmp_path: Path
) -> None:
    counted, card = Counting(), str(cards[protocol])
    options = RunOptions("rgb_s14", card, variant=variant, results=tmp_path / "results")
    record, path = evaluate(options, counted)
    assert counted.totals["predict"] > 0
    assert ("fit" in counted.totals) == (protocol != "overclustering")
    if protocol == "linear":  # validates after each epoch, which is no part of its prediction
        epochs = record.protocol.params["epochs"]
        counted.passed["predict"] -= epochs * record.dataset.n_val
        looks = "best" if variant == "reference" else "nothing depends on it"
        assert looks in record.protocol.val_in_fit
    else:
        assert record.protocol.val_in_fit == ""
    for phase, total in counted.totals.items():
        if phase in ("fit", "predict"):
            assert counted.passed[phase] == total, phase
    assert load_record(path) == record


def test_needs_are_frozen_and_little_is_needed_by_itself() -> None:
    needs = Needs(train_passes=1)
    assert (needs.val_passes, needs.kept_train_views, needs.val_in_fit) == (1, 0, "")
    with pytest.raises(FrozenInstanceError):
        needs.train_passes = 2  # type: ignore[misc]


def test_layers_are_written_only_where_they_are_others():
    """So that the hashes of runs from before there was a choice stay as they were."""
    assert "layers" not in ProtocolParams().model_dump(mode="json")
    assert ProtocolParams(layers="last") == ProtocolParams()
    chosen = ProtocolParams(layers=(2, 5)).model_dump(mode="json")
    assert chosen["layers"] == [2, 5]
    assert ProtocolParams.model_validate(chosen).layers == (2, 5)
