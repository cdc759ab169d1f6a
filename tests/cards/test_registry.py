"""A dataset, a family of backbones and a protocol each arrive as one module, ours or another's."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import densebench
from densebench.cards import DATASETS, FAMILIES, PROTOCOLS, Registry
from densebench.host.errors import DensebenchError

PACKAGE = Path(densebench.__file__).parent
REGISTRIES = (DATASETS, FAMILIES, PROTOCOLS)

DATASET = """
from densebench.cards import DatasetCard
from densebench.datasets import (
    MASKS, PHOTOS, Classes, Layout, LookupReader, identity_table, labelled, list_files, make_split
)

CLASSES = Classes(("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


class SwatchCard(DatasetCard):
    suffix: str = ""


def read_split(card, root, split, names):
    listed = tuple((root / f"{split}{card.suffix}.txt").read_text().split())
    images, masks = list_files(root / "images", PHOTOS), list_files(root / "masks", MASKS)
    reader, target = LookupReader(identity_table(CLASSES)), CLASSES.target
    return make_split(split, listed, images=images, masks=masks, reader=reader, target=target)


DATASET = labelled(
    lambda card: CLASSES,
    read_split=read_split,
    layout=Layout(("swatches",), (("images", "masks"),)),
    card=SwatchCard,
)
"""
FAMILY = """
from densebench.backbones import Family
from densebench.cards import BackboneCard


class MeansCard(BackboneCard):
    gain: float = 1.0


def build(found, asked):
    import torch
    from densebench import DenseBackbone

    class Means(DenseBackbone):
        def patch_map(self, images):
            pooled = torch.nn.functional.avg_pool2d(images, self.patch_size)
            return found.card.gain * pooled.permute(0, 2, 3, 1)

        def choices(self):
            return {"gain": found.card.gain}

    card = found.card
    return Means(card.name, card.patch_size, 3, mean=card.mean, std=card.std, card=card)


FAMILY = Family(build, card=MeansCard, is_known=True)
"""
PROTOCOL = """
from densebench.protocols.in_context import InContext


class Retrieval(InContext):
    version = 7


PROTOCOL = Retrieval
"""
BACKBONE_CARD = """
name = "means_14"
source = "means"
id = "any"
gain = 2.0
patch_size = 14
embed_dim = 3
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
position_embedding = "none"
license = "none"
training_data = "none"
"""
TASK_CARD = """
name = "swatch_retrieval"
protocol = "retrieval"

[dataset]
kind = "swatches"
root = "data"
suffix = ""

[params]
input_size = 28
n_neighbours = 2
memory_size = "unbounded"
augmentation_epochs = 1
augment = false
"""
COMMAND = (
    "import sys\n"
    "from densebench import cli\n"
    "try:\n"
    "    cli.main()\n"
    "finally:\n"
    "    print('torch' in sys.modules)\n"
)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(own_places: Path, write_dataset: Callable[..., Path]) -> Run:
    """The command line with packages of ``site``, beside a dataset and cards that want them."""
    write_dataset(own_places / "data")
    (own_places / "swatch.toml").write_text(TASK_CARD)
    (own_places / "means.toml").write_text(BACKBONE_CARD)

    def call(*words: str, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        places = [str(path) for path in (*paths, own_places / "site", PACKAGE.parent)]
        return subprocess.run(
            [sys.executable, "-c", COMMAND, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def install(site: Path, **points: str) -> None:
    """A distribution that registers ``kind="name = value"``."""
    info = site / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    groups = [f"[densebench.{kind}]\n{point}\n" for kind, point in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))


def means_on_swatches() -> list[str]:
    return ["run", "--backbone", "means.toml", "--task", "swatch.toml", "--device", "cpu", "--json"]


def test_one_module_each_in_the_package(run: Run, own_places: Path) -> None:
    shutil.copytree(
        PACKAGE, own_places / "copy" / "densebench", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in ("backbones", "tasks", "recipes"):
        shutil.copytree(PACKAGE.parent / folder, own_places / "copy" / folder)
    copy = own_places / "copy" / "densebench"
    (copy / "datasets" / "swatches.py").write_text(DATASET)
    (copy / "backbones" / "families" / "means.py").write_text(FAMILY)
    (copy / "protocols" / "retrieval.py").write_text(PROTOCOL)
    done = run(*means_on_swatches(), paths=(own_places / "copy",))
    assert done.returncode == 0, done.stderr
    assert re.search(r'"kind": "swatches"', done.stdout)
    assert re.search(r'"version": 7', done.stdout)
    assert re.search(r'"gain": 2.0', done.stdout)


@pytest.fixture
def theirs(own_places: Path) -> Path:
    """A package that registers one of each."""
    site = own_places / "site"
    install(
        site,
        datasets="swatches = theirs.data:DATASET",
        backbones="means = theirs.family:FAMILY",
        protocols="retrieval = theirs.rule:PROTOCOL",
    )
    (site / "theirs").mkdir()
    for name, text in (("data", DATASET), ("family", FAMILY), ("rule", PROTOCOL)):
        (site / "theirs" / f"{name}.py").write_text(text)
    return site / "theirs"


def test_one_module_each_of_somebody_else(run: Run, theirs: Path, own_places: Path) -> None:
    done = run(*means_on_swatches())
    assert done.returncode == 0, done.stderr
    assert re.search(r'"kind": "swatches"', done.stdout)
    again = run(*means_on_swatches())
    assert "already done" in again.stderr
    assert again.stdout.splitlines()[-1] == "False"
    (theirs / "rule.py").write_text(PROTOCOL.replace("7", "8"))
    other = run(*means_on_swatches())
    assert "already done" not in other.stderr
    assert re.search(r'"version": 8', other.stdout)


@pytest.mark.parametrize(
    ("module", "text", "told"),
    [
        ("data", "import gone_away", "'swatches' in densebench.datasets of theirs: ModuleNotF"),
        ("data", "raise SystemError('no luck')", "SystemError: no luck; mend or uninstall"),
        ("data", "DATASET = 3", "'swatches' in densebench.datasets of theirs: 3 is no DatasetKind"),
        ("data", "", "has no attribute 'DATASET'"),
        ("family", "import gone_away", "'means' in densebench.backbones of theirs"),
        ("family", "FAMILY = 'x'", "'x' is no Family"),
        ("rule", "import gone_away", "'retrieval' in densebench.protocols of theirs"),
        ("rule", "PROTOCOL = int", "of theirs: <class 'int'> is no Protocol"),
    ],
)
def test_what_is_broken_is_refused_by_name_in_one_line(
    run: Run, theirs: Path, module: str, text: str, told: str
) -> None:
    (theirs / f"{module}.py").write_text(text)
    done = run(*means_on_swatches())
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told in line
    assert "Traceback" not in done.stderr


def test_what_is_broken_stops_nothing_else(
    run: Run, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(theirs)
    monkeypatch.setenv("DENSEBENCH_PATH", ".")
    done = run("list")
    assert done.returncode == 0
    assert "swatch_retrieval" not in done.stdout and "means_14" not in done.stdout
    assert "voc_linear" in done.stdout and "hog_s14" in done.stdout
    assert "No module named 'theirs'" in done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert run("show", "hog_s14").returncode == 0


def test_a_name_of_ours_stays_ours(run: Run, own_places: Path) -> None:
    site = own_places / "site"
    install(site, datasets="voc = theirs:DATASET", backbones="timm = theirs:FAMILY")
    (site / "theirs.py").write_text("raise RuntimeError('not to be imported')")
    assert "voc_linear" in run("list", "tasks").stdout
    done = run("show", "voc_linear")
    assert "voc_linear" in done.stdout
    assert "'voc' in densebench.datasets of theirs is left out: densebench has" in done.stderr


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.export)
def test_all_of_ours_load_and_are_what_they_must_be(registry: Registry) -> None:
    from densebench.backbones.family import family_of
    from densebench.datasets.kind import dataset_kind
    from densebench.protocols import load_protocol

    load = {"DATASET": dataset_kind, "FAMILY": family_of, "PROTOCOL": load_protocol}
    for name in registry.names():
        assert load[registry.export](name) is registry.load(name)
        assert registry.module_files(name) == []


def test_the_names_are_those_of_the_modules() -> None:
    assert FAMILIES.names() == ["baseline", "hf", "open_clip", "python", "timm"]
    assert PROTOCOLS.names() == [
        "attention_jaccard",
        "cbfe",
        "depth_in_context",
        "depth_linear",
        "in_context",
        "knn",
        "linear",
        "logreg",
        "overclustering",
        "sliding_linear",
    ]
    assert DATASETS.names() == [
        "ade20k",
        "camvid",
        "cityscapes",
        "coco_stuff",
        "coco_things",
        "depth_folder",
        "folder",
        "nyuv2",
        "pascal_context",
        "scenes",
        "scenes_depth",
        "voc",
    ]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.export)
def test_an_unknown_name_is_told_with_the_nearest(registry: Registry) -> None:
    near = registry.names()[0]
    with pytest.raises(DensebenchError, match=rf"unknown .* \(did you mean '{near}'\?\)") as caught:
        registry.load(near[:-1] + "_")
    assert all(name in str(caught.value) for name in registry.names())
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        registry.check(near[:-1] + "_")


def test_datasets_and_families_are_found_without_torch() -> None:
    code = (
        "import sys\n"
        "from densebench.cards import DATASETS, FAMILIES, PROTOCOLS\n"
        "[registry.load(name) for registry in (DATASETS, FAMILIES) for name in registry.names()]\n"
        "PROTOCOLS.names()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
