"""Datasets in archives: the same images, masks and fingerprints as in folders."""

import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard, find_task
from densebench.datasets import Dataset, Split, load_dataset
from densebench.files import archives, hashes
from densebench.files.tree import archive_of, is_dir, is_file, locate
from densebench.records.schema import RunRecord
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

LONG_AGO = 1_500_000_000
VOC, ADE = DatasetCard(kind="voc"), DatasetCard(kind="ade20k")


def pack(folder: Path, archive: Path, keep: bool = False) -> Path:
    """Moves a folder into an archive under its own name; old enough for indices to be trusted."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".tar":
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, folder.name)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                into.write(file, file.relative_to(folder.parent))
    os.utime(archive, (LONG_AGO, LONG_AGO))
    if not keep:
        shutil.rmtree(folder)
    return archive


def content(dataset: Dataset) -> list[object]:
    """All that a score depends on."""
    return [
        (split.names, split.fingerprint(), split.mask(i).tobytes(), split.image(i).tobytes())
        for split in (dataset.train, dataset.val)
        for i in range(len(split))
    ]


@pytest.mark.parametrize("ending", ["tar", "zip"])
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("voc", "voc_home"),
        ("voc", "hbird_root"),
        ("ade20k", "ade_root"),
        ("coco_things", "coco_root"),
        ("coco_stuff", "coco_root"),
        ("cityscapes", "cityscapes_root"),
    ],
)
def test_each_layout_in_one_archive(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, layout: str, ending: str
) -> None:
    root: Path = request.getfixturevalue(layout)
    card = DatasetCard.model_validate({"kind": kind})
    expected = content(load_dataset(card, data_root=root))
    archive = pack(root, tmp_path / "packed" / f"any.{ending}")
    given = f"{archive}/{root.name}"
    assert content(load_dataset(card, data_root=given)) == expected
    if layout in ("ade_root", "coco_root", "cityscapes_root"):  # known by the folder's name
        assert content(load_dataset(card, data_root=archive)) == expected
        assert content(load_dataset(card, data_root=archive.parent)) == expected
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_the_official_tar_of_voc_with_sbd_beside_it(voc_home: Path, write: SimpleNamespace) -> None:
    root = voc_home / "VOCdevkit/VOC2012"
    (root / "ImageSets/Segmentation/trainaug.txt").unlink()
    shutil.rmtree(root / "SegmentationClassAug")
    write.sbd(voc_home / "SBD/cls/2008_000002.mat", write.grid(7))
    write.list(voc_home / "SBD/train.txt", ["2008_000002"])
    write.list(voc_home / "SBD/val.txt", ["2007_000033"])
    expected = content(load_dataset(VOC, data_root=voc_home))
    tar = pack(voc_home / "VOCdevkit", voc_home / "VOCtrainval_11-May-2012.tar")
    for place in (voc_home, tar):
        dataset = load_dataset(VOC, data_root=place)
        assert dataset.root == tar / "VOCdevkit/VOC2012"
        assert content(dataset) == expected
    few = load_dataset(VOC, data_root=tar, train_list=Path("train"))
    assert few.train.names == ("2007_000032",)
    with pytest.raises(DensebenchError, match="did you mean 'train'"):
        load_dataset(VOC, data_root=tar, train_list=Path("trein"))


@pytest.mark.parametrize("kind", ["coco_things", "coco_stuff"])
def test_parts_of_coco_in_archives(coco_root: Path, kind: str) -> None:
    card = DatasetCard.model_validate({"kind": kind})
    expected = content(load_dataset(card, data_root=coco_root))
    for split in ("train", "val"):
        pack(coco_root / f"images/{split}2017", coco_root / f"{split}2017.zip")
        annotations = coco_root / "annotations"
        pack(annotations / f"panoptic_{split}2017", annotations / f"panoptic_{split}2017.zip")
    (coco_root / "images").rmdir()
    dataset = load_dataset(card, data_root=coco_root)
    assert content(dataset) == expected
    assert dataset.val.image_files[0].startswith(f"{coco_root}/val2017.zip/val2017/")
    pack(coco_root / "annotations" / "stuff_annotations", coco_root / "annotations" / "stuff.tar")
    assert content(load_dataset(card, data_root=coco_root)) == expected


def test_archives_of_cityscapes_as_they_are_shipped(cityscapes_root: Path) -> None:
    card = DatasetCard(kind="cityscapes")
    expected = content(load_dataset(card, data_root=cityscapes_root))
    for part in ("leftImg8bit", "gtFine"):
        pack(cityscapes_root / part, cityscapes_root / f"{part}_trainvaltest.zip")
    assert content(load_dataset(card, data_root=cityscapes_root.parent)) == expected


def test_a_card_of_any_folder(folder_card: Callable[..., Path], tmp_path: Path) -> None:
    found = find_task(folder_card())
    card, path = found.card, found.file
    expected = content(load_dataset(card.dataset, card_path=path))
    pack(tmp_path / "camvid", tmp_path / "camvid.zip", keep=True)
    found = find_task(folder_card(root="camvid.zip/camvid"))
    moved, path = found.card, found.file
    assert content(load_dataset(moved.dataset, card_path=path)) == expected
    assert content(load_dataset(card.dataset, data_root=tmp_path / "camvid.zip")) == expected


def test_a_folder_goes_before_an_archive(ade_root: Path) -> None:
    pack(ade_root, ade_root.parent / "ADEChallengeData2016.zip", keep=True)
    (ade_root.parent / "broken.zip").write_bytes(b"no zip")
    dataset = load_dataset(ADE, data_root=ade_root.parent)
    assert archive_of(dataset.val.image_files[0]) is None
    shutil.rmtree(ade_root)
    with pytest.raises(DensebenchError, match=r"broken\.zip: not a readable \.zip archive"):
        load_dataset(ADE, data_root=ade_root.parent)


def test_compressed_tars_are_named(ade_root: Path) -> None:
    home = ade_root.parent
    (home / "ade.tgz").write_bytes(b"x")
    with pytest.raises(DensebenchError, match=r"ade\.tgz: a compressed tar cannot be read"):
        load_dataset(ADE, data_root=home / "ade.tgz")
    shutil.rmtree(ade_root)
    with pytest.raises(DensebenchError, match=r"no ade20k dataset in .* \(ade\.tgz is compressed"):
        load_dataset(ADE, data_root=home)


def test_what_is_missing_in_an_archive(ade_root: Path, tmp_path: Path) -> None:
    shutil.rmtree(ade_root / "annotations/validation")
    archive = pack(ade_root, tmp_path / "ade.zip")
    with pytest.raises(DensebenchError) as caught:
        load_dataset(ADE, data_root=archive)
    missing = archive / "ADEChallengeData2016/annotations/validation"
    assert f"the first that is missing is {missing};" in str(caught.value)


def test_a_damaged_member_is_named(ade_root: Path, tmp_path: Path) -> None:
    victim = ade_root / "images/validation/ADE_val_00000001.jpg"
    (victim).write_bytes(b"no image")
    archive = pack(ade_root, tmp_path / "ade.tar")
    split = load_dataset(ADE, data_root=archive).val
    name = f"{archive}/{victim.relative_to(tmp_path)}"
    with pytest.raises(DensebenchError) as caught:
        split.image(0)
    assert str(caught.value).startswith(f"{name}: not a readable image (")
    with archive.open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(DensebenchError, match="cut short"):
        split.image(0)
    archive.unlink()
    with pytest.raises(DensebenchError, match=r"not a readable image \(Not|No such file"):
        split.image(0)
    with pytest.raises(DensebenchError, match="cannot be read"):
        split.fingerprint()


@pytest.fixture
def packed(voc_home: Path, tmp_path: Path) -> Split:
    archive = pack(voc_home / "VOCdevkit", tmp_path / "voc.zip")
    return load_dataset(VOC, data_root=archive).train


def test_members_are_hashed_once(
    packed: Split, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = packed.fingerprint()
    hashed: list[str] = []
    plain = hashes._file_hash

    def spy(folder: str, name: str) -> str:
        hashed.append(name)
        return plain(folder, name)

    monkeypatch.setattr(hashes, "_file_hash", spy)
    assert packed.fingerprint() == first and not hashed
    archive = Path(str(archive_of(packed.image_files[0])[0]))
    with zipfile.ZipFile(archive, "a") as into, pytest.warns(UserWarning, match="Duplicate"):
        into.writestr("VOCdevkit/VOC2012/JPEGImages/2008_000002.jpg", b"another")
    os.utime(archive, (LONG_AGO + 1, LONG_AGO + 1))
    assert packed.fingerprint() != first and len(hashed) == 4


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers(packed: Split, method: str) -> None:
    expected = [packed.mask(i).tobytes() for i in range(2)]
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        copies = [pickle.loads(pickle.dumps(packed))] * 8
        found = list(pool.map(Split.mask, copies, [0, 1] * 4))
    assert [mask.tobytes() for mask in found] == expected * 4


def test_places(tmp_path: Path, ade_root: Path) -> None:
    archive = pack(ade_root, tmp_path / "data" / "ade.zip")
    inside = locate(tmp_path, "data/ADEChallengeData2016/images")
    assert inside == archive / "ADEChallengeData2016/images"
    assert is_dir(inside) and is_dir(archive) and not is_file(archive) and not is_file(inside)
    assert locate(tmp_path, "data/nothing") == tmp_path / "data/nothing"
    assert locate(tmp_path, str(tmp_path / "else")) == tmp_path / "else"
    assert locate(tmp_path, "../ADEChallengeData2016") == tmp_path / "../ADEChallengeData2016"
    # A folder may be called like an archive.
    file = tmp_path / "folder.zip/file"
    file.parent.mkdir()
    file.write_text("")
    assert archive_of(file) is None and is_file(file)


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_real_photographs(real_data: Path, tmp_path: Path, ending: str) -> None:
    """Twelve real images with their masks."""
    source = real_data / "VOCdevkit/VOC2012"
    root = tmp_path / "home/VOCdevkit/VOC2012"
    lists = source / "ImageSets/Segmentation"
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("memory", "val"):
        names = (lists / f"{split}.txt").read_text().split()[:6]
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))
        for name in names:
            for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
                for file in (source / folder).glob(f"{name}.*"):
                    (root / folder).mkdir(exist_ok=True)
                    shutil.copyfile(file, root / folder / file.name)
    card = DatasetCard(kind="voc", train="memory")
    expected = content(load_dataset(card, data_root=tmp_path / "home"))
    archive = pack(tmp_path / "home/VOCdevkit", tmp_path / f"home/voc.{ending}")
    assert len(expected) == 12
    assert content(load_dataset(card, data_root=archive)) == expected


def test_a_run_gives_the_same_record(
    tiny_task: Path, tmp_path: Path, tiny_record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tiny_task.parent, tmp_path / "pictures.tar", keep=True)
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "another"))
    options = RunOptions(
        "rgb_s14",
        str(tiny_task),
        device="cpu",
        workers=2,
        results=tmp_path / "results",
        data_root=archive / tiny_task.parent.name,
    )
    record = evaluate(options)[0]
    assert record.scores == tiny_record.scores and record.run_id == tiny_record.run_id
    assert record.dataset == tiny_record.dataset
    assert np.isfinite(record.score.value)


def test_an_archive_changes_under_a_run(packed: Split, tmp_path: Path) -> None:
    """A new file of the same name is read anew; nothing of the old index is used."""
    assert packed.image(0).size == (6, 4)
    archive = tmp_path / "voc.zip"
    with zipfile.ZipFile(archive, "w") as into:
        into.writestr("else", b"")
    with pytest.raises(DensebenchError, match=r"not a readable image \(No such file"):
        packed.image(0)
    assert archives.open_archive(archive).is_file("else")
