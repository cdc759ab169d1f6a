"""What a check finds in good data, in spoilt data, in other releases, and in the real samples."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.datasets.subset import data_fingerprint
from densebench.datasets.voc import TRAINAUG_LENGTHS
from densebench.host.errors import DensebenchError
from densebench.prepare.pipeline import Options, prepare
from densebench.prepare.releases import release_problems
from densebench.prepare.sources import Table
from densebench.prepare.verify import Report, is_there, verify

Check = Callable[..., Report]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def ready(root: Path, table: Table, given: Path, network: Any) -> Callable[..., Path]:
    """Prepares datasets, and gives the folder that holds them."""

    def make(*names: str) -> Path:
        options = Options(accept=True, given=given, table=table, network=network)
        for name in names:
            prepare(name, root, options)
        return root

    return make


@pytest.fixture
def check(root: Path, table: Table) -> Check:
    return lambda name, **options: verify(name, root, table=table, **options)


@pytest.mark.parametrize(
    "name",
    ["voc", "ade20k", "coco_things", "coco_stuff", "cityscapes", "camvid", "pascal_context"],
)
def test_good_data_has_the_fingerprint_of_the_records(
    name: str, ready: Callable[..., Path], check: Check
) -> None:
    root = ready(name)
    report = check(name)
    assert report.problems == []
    dataset = load_dataset(DatasetCard(kind=name), data_root=root)  # type: ignore[arg-type]
    assert report.fingerprint == data_fingerprint(dataset)
    for split_name, split in (("train", dataset.train), ("val", dataset.val)):
        found = report.splits[split_name]
        assert found.images == found.expected == found.checked == len(split)
        values = np.concatenate([split.mask(i).ravel() for i in range(len(split))])
        counts = np.bincount(values, minlength=256)
        scored = [i for i in range(len(split.classes)) if i != split.ignore_index]
        assert found.pixels == {split.classes[i]: counts[i] for i in scored}
        assert found.ignored == counts[split.ignore_index]
        assert sum(found.pixels.values()) + found.ignored == values.size
    assert json.loads(json.dumps(report.as_json()))["dataset"] == name


@pytest.mark.parametrize("name", ["voc", "coco_things"])
def test_data_in_an_archive_are_verified_as_they_are(
    name: str, ready: Callable[..., Path], check: Check
) -> None:
    root = ready(name)
    expected = check(name)
    folder = root / {"voc": "VOCdevkit", "coco_things": "coco"}[name]
    with tarfile.open(root / "packed.tar", "w") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    report = check(name)
    assert (report.problems, report.splits) == ([], expected.splits)
    assert report.fingerprint == expected.fingerprint
    assert report.place == expected.place.replace(str(root), f"{root}/packed.tar")


def test_a_sample_is_quick(ready: Callable[..., Path], check: Check, monkeypatch: Any) -> None:
    monkeypatch.setattr("densebench.prepare.verify.SAMPLE", 2)
    ready("ade20k", "coco_unlabeled", "voc")
    report = check("voc", quick=True)
    assert (report.fingerprint, report.problems, report.splits["train"].checked) == (None, [], 2)
    monkeypatch.setattr("densebench.prepare.verify.SAMPLE", 1)
    assert check("coco_unlabeled", quick=True).splits["unlabeled2017"].checked == 1


def test_images_alone_have_a_fingerprint_of_their_content(
    ready: Callable[..., Path], check: Check
) -> None:
    folder = ready("coco_unlabeled") / "coco/images/unlabeled2017"
    first = check("coco_unlabeled")
    assert first.problems == []
    one, other = sorted(folder.iterdir())
    one.rename(folder / "x.jpg"), other.rename(one), (folder / "x.jpg").rename(other)
    second = check("coco_unlabeled")
    assert second.fingerprint != first.fingerprint
    one.write_bytes(one.read_bytes()[:200])
    assert f"{one}: not a readable image" in check("coco_unlabeled").problems[0]
    one.unlink()
    assert "1 images, but 2 were released" in check("coco_unlabeled").problems[0]


IMAGES = Path("ADEChallengeData2016/images/training")
MASKS = Path("ADEChallengeData2016/annotations/training")
FIRST = "ADE_train_00000001"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-150])


def shrink(file: Path) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(file)


def relabel(file: Path) -> None:
    Image.fromarray(np.full((4, 6), 151, np.uint8)).save(file)


SPOILT: dict[str, tuple[Callable[[Path], object], Path, str]] = {
    "cut image": (cut, IMAGES / f"{FIRST}.jpg", f"{FIRST}.jpg: not a readable image"),
    "empty mask": (lambda f: f.write_bytes(b""), MASKS / f"{FIRST}.png", "not a readable mask"),
    "unknown id": (relabel, MASKS / f"{FIRST}.png", "no class: 151; allowed are 0-150"),
    "other size": (shrink, MASKS / f"{FIRST}.png", "the mask is 5x5 pixels and its image"),
    "no mask": (
        Path.unlink,
        MASKS / f"{FIRST}.png",
        "1 of 2 images of the train split are without",
    ),
    "no image": (
        Path.unlink,
        IMAGES / f"{FIRST}.jpg",
        f"1 masks are without an image, the first is '{FIRST}'",
    ),
    "no images": (shutil.rmtree, IMAGES, "training: cannot be listed"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_spoilt_data(what: str, ready: Callable[..., Path], check: Check) -> None:
    spoil, file, expected = SPOILT[what]
    spoil(ready("ade20k") / file)
    report = check("ade20k")
    assert [problem for problem in report.problems if expected in problem]
    assert report.fingerprint is None or what == "no image"
    assert report.splits["val"].checked == 1


def test_many_problems_are_few_lines(ready: Callable[..., Path], check: Check, monkeypatch) -> None:
    monkeypatch.setattr("densebench.prepare.verify.SHOWN", 1)
    root = ready("coco_things")
    for file in (root / "coco/annotations/panoptic_train2017").iterdir():
        file.write_bytes(b"")
    report = check("coco_things")
    assert len(report.problems) == 2
    assert report.problems[1] == "and 2 more files like these"


def test_nothing_there(check: Check, root: Path, table: Table) -> None:
    for name in ("voc", "cityscapes"):
        report = check(name)
        assert f"no {name} dataset in {root}" in report.problems[0]
        assert not is_there(name, root, table)
    assert "0 images, but 4 were released" in check("imagenet").problems[0]
    with pytest.raises(DensebenchError, match=r"no dataset named 'vco' \(did you mean 'voc'\?\)"):
        check("vco")


def test_which_datasets_are_there(ready: Callable[..., Path], table: Table) -> None:
    root = ready("coco_things", "ade20k")
    there = [name for name in table.datasets if is_there(name, root, table)]
    assert there == ["ade20k", "coco_things"]
    ready("coco_stuff")
    assert is_there("coco_stuff", root, table)


def voc_lists(root: Path) -> Path:
    return root / "VOCdevkit/VOC2012/ImageSets/Segmentation"


def numbered(n: int, first: int = 0) -> str:
    return "".join(f"2011_{first + i:06d}\n" for i in range(n))


def test_old_voc_by_its_lists(ready: Callable[..., Path], root: Path) -> None:
    place = ready("voc") / "VOCdevkit/VOC2012"
    for (n_train, n_val), year in {(209, 213): 2007, (1112, 1111): 2011}.items():
        (voc_lists(root) / "train.txt").write_text(numbered(n_train))
        (voc_lists(root) / "val.txt").write_text(numbered(n_val, 5000))
        (said,) = release_problems("voc", "voc", root, place)
        assert f"which are VOC {year}'s and not VOC 2012's" in said


def test_voc_2007_among_voc_2012(ready: Callable[..., Path], check: Check, pack: Any) -> None:
    images = ready("voc") / "VOCdevkit/VOC2012/JPEGImages"
    (images / "000005.jpg").write_bytes(pack.photo(1))
    assert "1 images are VOC 2007's (such as 000005)" in check("voc").problems[0]


def test_only_voc_2007(root: Path, check: Check) -> None:
    (root / "VOCdevkit/VOC2007/JPEGImages").mkdir(parents=True)
    assert "VOC2007 is there, but not VOC2012" in check("voc").problems[0]
    (root / "SBD/cls").mkdir(parents=True)
    assert any("SBD is there, but not VOC2012" in problem for problem in check("voc").problems)


def test_trainaug_of_another_length(ready: Callable[..., Path], check: Check) -> None:
    root = ready("voc")
    with (voc_lists(root) / "trainaug.txt").open("a") as file:
        file.write("2007_000033\n")
    problems = check("voc").problems
    assert "1 of its names are in val.txt too (such as 2007_000033)" in problems[0]
    assert "train: 4 images, but 3 were released" in problems[1]


def test_known_lengths_of_trainaug_are_named(
    ready: Callable[..., Path], check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINAUG_LENGTHS, 1, TRAINAUG_LENGTHS[1464])
    root = ready("voc")
    (voc_lists(root) / "trainaug.txt").write_text("2007_000032\n")
    (problem,) = check("voc").problems
    assert problem.endswith("(this is VOC's own train set, without SBD)")


def test_the_full_ade20k(root: Path, check: Check, ready: Callable[..., Path]) -> None:
    (root / "ADE20K_2021_17_01").mkdir(parents=True)
    assert "ADE20K_2021_17_01 is the full ADE20K" in check("ade20k").problems[0]
    ready("ade20k")
    (root / "ADEChallengeData2016/images/training/a").mkdir()
    assert "is of the full ADE20K (folders of scenes" in check("ade20k").problems[0]


def test_coco_2014(root: Path, check: Check, ready: Callable[..., Path], pack: Any) -> None:
    (root / "coco/images/train2014").mkdir(parents=True)
    assert "train2014 is of COCO 2014" in check("coco_things").problems[0]
    (root / "coco/images/train2014").rmdir()
    images = ready("coco_things") / "coco/images/train2017"
    (images / "COCO_train2014_000000000009.jpg").write_bytes(pack.photo(1))
    assert (
        "1 images are COCO 2014's (COCO_train2014_000000000009)" in check("coco_things").problems[0]
    )


def test_coarse_cityscapes_and_other_imagenets(root: Path, check: Check) -> None:
    for folder in ("leftImg8bit/train", "leftImg8bit/val", "gtCoarse/train"):
        (root / "cityscapes" / folder).mkdir(parents=True)
    assert "gtCoarse has the coarse annotations" in check("cityscapes").problems[0]
    for n in range(200):
        (root / f"imagenet/train/n{n:08d}").mkdir(parents=True)
    assert "not ILSVRC 2012's 1,000 (is it Tiny ImageNet?)" in check("imagenet").problems[-1]


def test_camvid_in_32_classes(root: Path, check: Check) -> None:
    for folder in ("train", "train_labels", "val", "val_labels"):
        (root / "CamVid" / folder).mkdir(parents=True)
    assert "CamVid/train_labels is of CamVid with 32 classes" in check("camvid").problems[0]


def test_the_real_camvid_is_whole(real_data: Path) -> None:
    report = verify("camvid", real_data, quick=True)
    assert report.problems == []
    assert [split.images for split in report.splits.values()] == [367, 101]
    assert all(report.splits["val"].pixels.values())


def test_real_samples_are_told_from_the_whole(real_data: Path) -> None:
    voc = verify("voc", real_data, quick=True)
    assert "val: 1,000 images, but 1,449 were released" in voc.problems
    assert any("trainaug.txt: no such list, and no SBD" in problem for problem in voc.problems)
    assert len(voc.problems) == 2
    assert voc.splits["val"].checked == 64
    assert voc.splits["val"].pixels["background"] > 0

    things = verify("coco_things", real_data)
    assert things.problems == [
        "train: 20 images, but 118,287 were released",
        "val: 60 images, but 5,000 were released",
    ]
    dataset = load_dataset(DatasetCard(kind="coco_things"), data_root=real_data)
    assert things.fingerprint == data_fingerprint(dataset)
    stuff = verify("coco_stuff", real_data)
    assert all("needs the stuff pixel maps" in problem for problem in stuff.problems)

    ade = verify("ade20k", real_data)
    assert ade.problems[0].startswith("train: ")
    assert "images/training: cannot be listed" in ade.problems[0]
    assert ade.problems[1:] == ["val: 3 images, but 2,000 were released"]
    assert ade.splits["val"].pixels["sky"] > 0


def write_nyu(root: Path) -> None:
    rng = np.random.default_rng(0)
    for kind, count in (("train", 3), ("test", 2)):
        lines = []
        for number in range(count):
            names = f"{kind}/room/rgb_{number}.jpg", f"{kind}/room/sync_depth_{number}.png"
            (root / names[0]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(root / names[0])
            depth = np.full((8, 10), 2500, np.uint16)
            depth[:2] = 0
            Image.fromarray(depth).save(root / names[1])
            lines.append(f"{names[0]} {names[1]} 518.8579")
        (root / f"nyu_{kind}.txt").write_text("\n".join(lines))


def test_depth_that_was_put_by_hand_is_checked(tmp_path: Path) -> None:
    """Of another size than was released, and with a depth that is none."""
    with pytest.raises(DensebenchError, match="nyuv2 cannot be fetched: get it by https"):
        prepare("nyuv2", tmp_path, Options(accept=True))
    write_nyu(tmp_path / "nyuv2")
    report = prepare("nyuv2", tmp_path, Options(accept=True))
    assert report.problems == [
        "train: 3 images, but 24,231 were released",
        "val: 2 images, but 654 were released",
    ]
    whole = verify("nyuv2", tmp_path)
    assert (whole.splits["val"].checked, whole.fingerprint is not None) == (2, True)
    assert (whole.splits["val"].valued, whole.splits["val"].ignored) == (120, 40)
    Image.new("L", (10, 8)).save(tmp_path / "nyuv2/test/room/sync_depth_1.png")
    told = verify("nyuv2", tmp_path).problems
    assert any("sync_depth_1.png: a depth map must be a 16-bit PNG" in problem for problem in told)
