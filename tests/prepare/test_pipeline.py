"""From an empty folder to a dataset that densebench reads, over HTTP and from given archives."""

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.host.errors import DensebenchError
from densebench.prepare.pieces import own_folder
from densebench.prepare.pipeline import Options, prepare
from densebench.prepare.sources import Table, official_table

LABELLED = {"voc": (3, 1), "ade20k": (2, 1), "coco_things": (3, 1), "coco_stuff": (3, 1)}
LABELLED |= {"camvid": (3, 2), "pascal_context": (2, 1)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def options(table: Table, network: Any) -> Options:
    return Options(accept=True, table=table, network=network)


def changed(options: Options, **values: Any) -> Options:
    return dataclasses.replace(options, **values)


def tree(root: Path) -> dict[str, bytes]:
    """Every file of the datasets."""
    own = own_folder(root)
    files = (path for path in root.rglob("*") if path.is_file() and own not in path.parents)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", LABELLED)
def test_from_an_empty_folder(name: str, root: Path, options: Options, server: Any) -> None:
    report = prepare(name, root, options)
    assert report.problems == []
    dataset = load_dataset(DatasetCard(kind=name), data_root=root)  # type: ignore[arg-type]
    assert (len(dataset.train), len(dataset.val)) == LABELLED[name]
    for split in (dataset.train, dataset.val):
        for i in range(len(split)):
            assert split.mask(i).shape == split.image(i).size[::-1]
    assert not any(".unpacking" in file or ".making" in file for file in tree(root))
    assert list((own_folder(root) / "downloads").iterdir()) == []
    before, requests = tree(root), len(server.requests)
    assert prepare(name, root, options).problems == []
    assert tree(root) == before
    assert len(server.requests) == requests


def test_images_without_labels(root: Path, options: Options) -> None:
    report = prepare("coco_unlabeled", root, options)
    assert (report.problems, report.splits["unlabeled2017"].images) == ([], 2)
    assert len(list((root / "coco/images/unlabeled2017").glob("*.jpg"))) == 2


def test_voc_is_made_of_voc_and_sbd(root: Path, options: Options) -> None:
    prepare("voc", root, options)
    voc = root / "VOCdevkit" / "VOC2012"
    names = (voc / "ImageSets/Segmentation/trainaug.txt").read_text().split()
    assert names == ["2007_000032", "2008_000002", "2008_000003"]  # and not 2007_000033 of val
    own = (voc / "SegmentationClass" / "2007_000032.png").read_bytes()
    augmented = voc / "SegmentationClassAug"
    assert (augmented / "2007_000032.png").read_bytes() == own  # though SBD labels it too
    for name, value in (("2008_000002", 8), ("2008_000003", 9)):
        with Image.open(augmented / f"{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[3:6] == [128, 0, 0]  # type: ignore[index]
            assert np.unique(np.asarray(image)).tolist() == [value]
    assert len(list(augmented.iterdir())) == 4


def test_the_official_table_gives_the_published_counts() -> None:
    datasets = official_table().datasets
    assert (datasets["voc"].n_train, datasets["voc"].n_val) == (10_582, 1_449)
    assert (datasets["ade20k"].n_train, datasets["ade20k"].n_val) == (20_210, 2_000)
    for name in ("coco_things", "coco_stuff"):
        assert (datasets[name].n_train, datasets[name].n_val) == (118_287, 5_000)
    for source in datasets.values():
        assert source.licence
        assert source.terms.startswith("http")
        assert source.citations


def test_coco_stuff_takes_the_images_that_things_left(
    root: Path, options: Options, server: Any
) -> None:
    prepare("coco_things", root, options)
    server.requests.clear()
    prepare("coco_stuff", root, options)
    assert [path for path, _ in server.requests] == ["/stuff_annotations_trainval2017.zip"]


def test_archives_that_the_user_has(root: Path, options: Options, given: Path, server: Any) -> None:
    assert prepare("voc", root, changed(options, given=given)).problems == []
    assert server.requests == []
    assert len(list(given.iterdir())) == len(official_table().archives)
    (given / "val2017.zip").unlink()
    prepare("coco_things", root, changed(options, given=given))
    assert [path for path, _ in server.requests] == ["/val2017.zip"]


def test_a_given_archive_is_verified(root: Path, options: Options, given: Path) -> None:
    body = bytearray((given / "benchmark.tgz").read_bytes())
    body[-20] ^= 1
    (given / "benchmark.tgz").write_bytes(body)
    with pytest.raises(DensebenchError, match=r"benchmark.tgz: its SHA256 is \w+, but the offic"):
        prepare("voc", root, changed(options, given=given))
    (given / "benchmark.tgz").write_bytes(body[:-30])
    with pytest.raises(DensebenchError, match=r"but the official archive has .* is incomplete"):
        prepare("voc", root, changed(options, given=given))
    with pytest.raises(DensebenchError, match=r"--from .*nowhere: no such folder"):
        prepare("voc", root, changed(options, given=root / "nowhere"))


@pytest.mark.parametrize("name", ["cityscapes", "imagenet"])
def test_behind_an_account(name: str, root: Path, options: Options, given: Path, ear: Any) -> None:
    with pytest.raises(DensebenchError, match=f"{name} needs an account .* --from DIR"):
        prepare(name, root, options, ear)
    said = "\n".join(ear.lines)
    for piece in options.table.pieces_of(name).values():
        assert piece.archive in said
        assert str(root / piece.target) in said
    few = [f"{root}/imagenet/train: has 2 class folders, not ILSVRC 2012's 1,000 (is it part?)"]
    expected = few if name == "imagenet" else []
    assert prepare(name, root, changed(options, given=given)).problems == expected
    assert prepare(name, root, options).problems == expected  # needs nothing more


def test_the_layouts_of_accounts(root: Path, options: Options, given: Path) -> None:
    options = changed(options, given=given)
    prepare("imagenet", root, options)
    classes = sorted(path.name for path in (root / "imagenet/train").iterdir())
    assert classes == ["n01440764", "n01443537"]
    assert (root / "imagenet/train/n01440764/n01440764_1.JPEG").is_file()
    prepare("cityscapes", root, options)
    dataset = load_dataset(DatasetCard(kind="cityscapes"), data_root=root)
    assert (len(dataset.train), len(dataset.val)) == (2, 1)
    assert dataset.val.mask(0)[1, 1] == 0


def test_terms_are_accepted_once(root: Path, options: Options, ear: Any, server: Any) -> None:
    asked: list[str] = []

    def answer(yes: bool) -> Callable[[str], bool]:
        return lambda question: asked.append(question) or yes  # type: ignore[func-returns-value]

    silent = changed(options, accept=False)
    with pytest.raises(DensebenchError, match=r"are not accepted yet; .* add --accept-license"):
        prepare("coco_things", root, silent, ear)
    said = "\n".join(ear.lines)
    assert "CC BY 4.0" in said
    assert "Panoptic Segmentation. CVPR 2019" in said
    with pytest.raises(DensebenchError, match="not prepared, since its terms are not accepted"):
        prepare("coco_things", root, changed(silent, ask=answer(False)))
    assert server.requests == []
    prepare("coco_things", root, changed(silent, ask=answer(True)))
    assert asked == ["Do you accept these terms for coco_things?"] * 2
    prepare("coco_things", root, silent)
    prepare("coco_unlabeled", root, silent)  # the same owners' terms
    with pytest.raises(DensebenchError, match="ade20k: its terms"):
        prepare("ade20k", root, silent)


def test_archives_may_be_kept(root: Path, options: Options, server: Any) -> None:
    prepare("voc", root, changed(options, keep_archives=True))
    kept = {"VOCtrainval_11-May-2012.tar", "benchmark.tgz"}
    assert {path.name for path in (root / "archives").iterdir()} == kept
    shutil.rmtree(root / "SBD")
    server.requests.clear()
    assert prepare("voc", root, options).problems == []
    assert server.requests == []
    assert {path.name for path in (root / "archives").iterdir()} == kept


def test_a_download_that_a_killed_run_left(root: Path, options: Options, given: Path) -> None:
    prepare("ade20k", root, options)
    left = own_folder(root) / "downloads" / "ADEChallengeData2016.zip"
    shutil.copy(given / left.name, left)
    prepare("ade20k", root, options)
    assert not left.exists()


def test_no_room(root: Path, options: Options, server: Any) -> None:
    small = dataclasses.replace(options.network, free=lambda folder: 300 << 20)
    with pytest.raises(
        DensebenchError, match=r"voc needs about 0\.\d\d GB in .*, and 0.00 GB are free"
    ):
        tight = dataclasses.replace(options.network, free=lambda folder: 0)
        prepare("voc", root, changed(options, network=tight))
    assert server.requests == []
    assert prepare("voc", root, changed(options, network=small)).problems == []


def test_the_estimate_counts_archives_one_after_another(root: Path) -> None:
    network = dataclasses.replace(Options().network, free=lambda folder: 41 * 10**9)
    with pytest.raises(DensebenchError, match=r"about 4\d\.\d\d GB .* 41\.00 GB are free"):
        keep = Options(accept=True, network=network, keep_archives=True)
        prepare("coco_things", root, keep)
    tighter = dataclasses.replace(network, free=lambda folder: 20 * 10**9)
    with pytest.raises(DensebenchError, match=r"coco_things needs about 39\.\d\d GB"):
        prepare("coco_things", root, Options(accept=True, network=tighter))


def test_no_room_while_unpacking(root: Path, options: Options) -> None:
    answers = iter([10**9, 10**9, 10])
    shrinking = dataclasses.replace(options.network, free=lambda folder: next(answers))
    with pytest.raises(DensebenchError, match="not unpacked, since it holds more than the free sp"):
        prepare("ade20k", root, changed(options, network=shrinking, reserve=0))
    assert tree(root) == {}
    assert prepare("ade20k", root, options).problems == []


def test_what_the_user_has_is_left_alone(root: Path, options: Options, server: Any) -> None:
    own = root / "ADEChallengeData2016/images/training/mine.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(DensebenchError, match=r"training: has 1 of 2 files; complete it, or move"):
        prepare("ade20k", root, options)
    assert own.read_bytes() == b"mine"
    assert server.requests == []


def test_another_layout_is_good_too(
    root: Path, options: Options, server: Any, ear: Any, archives: dict[str, bytes]
) -> None:
    prepare("coco_stuff", root, options)
    shutil.rmtree(own_folder(root))
    for split in ("train", "val"):
        (root / f"coco/images/{split}2017").rename(root / f"coco/{split}2017")
    (root / "coco/images").rmdir()
    before = tree(root)
    server.requests.clear()
    assert prepare("coco_stuff", root, options, ear).problems == []
    assert (server.requests, tree(root)) == ([], before)
    assert "coco_stuff: is there already, in another layout" in ear.lines


def test_only_what_is_missing(root: Path, options: Options, server: Any) -> None:
    prepare("voc", root, options)
    before = tree(root)
    shutil.rmtree(root / "SBD")
    shutil.rmtree(root / "VOCdevkit/VOC2012/SegmentationClassAug")
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").unlink()
    server.requests.clear()
    prepare("voc", root, options)
    assert [path for path, _ in server.requests] == ["/benchmark.tgz"]
    assert tree(root) == before


def test_sbd_of_another_release(root: Path, options: Options, retable: Any, pack: Any) -> None:
    base = "benchmark_RELEASE/dataset"
    members = {f"{base}/cls/2008_{n:06d}.mat": pack.sbd(3) for n in range(2, 6)}
    lists = {f"{base}/train.txt": pack.list("2008_000002"), f"{base}/val.txt": b"2008_000004\n"}
    table = retable(**{"benchmark.tgz": pack.tar({**members, **lists}, "w:gz")})
    prepare_ade = changed(options, table=table)
    with pytest.raises(DensebenchError, match="3 training images and not 4; one of them is of an"):
        values = table.model_dump()
        values["datasets"]["voc"]["n_train"] = 4
        prepare("voc", root, changed(options, table=Table.model_validate(values)))
    assert not (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").exists()
    with pytest.raises(DensebenchError, match="listed images of the train split are missing"):
        _raise(prepare("voc", root, prepare_ade).problems)


def _raise(problems: list[str]) -> None:
    raise DensebenchError("; ".join(problems))


def test_an_archive_without_the_piece(
    root: Path, options: Options, retable: Any, pack: Any
) -> None:
    table = retable(**{"val2017.zip": pack.zip({"val2014/1.jpg": pack.photo(1)})})
    with pytest.raises(
        DensebenchError, match=r"val2017.zip: holds no val2017/; it is another rele"
    ):
        prepare("coco_things", root, changed(options, table=table))


def test_another_number_of_files_is_told(
    root: Path, options: Options, retable: Any, pack: Any, ear: Any, server: Any
) -> None:
    table = retable(**{"unlabeled2017.zip": pack.zip({"unlabeled2017/1.jpg": pack.photo(1)})})
    options = changed(options, table=table)
    report = prepare("coco_unlabeled", root, options, ear)
    assert any("1 files came out of unlabeled2017.zip, and 2 were exp" in s for s in ear.lines)
    assert "1 images, but 2 were released" in report.problems[0]
    server.requests.clear()
    prepare("coco_unlabeled", root, options)  # the official archive holds no more
    assert server.requests == []


def test_an_unsafe_archive_leaves_nothing(
    root: Path, options: Options, retable: Any, pack: Any
) -> None:
    bad = {"val2017/1.jpg": pack.photo(1), "val2017/../../../evil.jpg": b"evil"}
    table = retable(**{"val2017.zip": pack.zip(bad)})
    with pytest.raises(
        DensebenchError, match=r"refused, since its member .* outside of the folder"
    ):
        prepare("coco_things", root, changed(options, table=table))
    assert not list(root.parent.rglob("*evil*"))
    assert not (root / "coco/images/val2017").exists()


def test_without_a_network_the_way_is_told(root: Path, options: Options, ear: Any) -> None:
    values = options.table.model_dump()
    values["archives"]["benchmark.tgz"]["url"] = "http://127.0.0.1:9/benchmark.tgz"
    table = Table.model_validate(values)
    with pytest.raises(DensebenchError, match=r"cannot fetch .*refused; gave up after 3 tries\);"):
        prepare("voc", root, changed(options, table=table), ear)
    said = "\n".join(ear.lines)
    for file in ("VOCtrainval_11-May-2012.tar", "benchmark.tgz"):
        assert f"  {file}  (" in said
    assert f"{root / 'SBD/cls'}  (4 files NAME.mat)" in said


def test_one_at_a_time(root: Path, options: Options) -> None:
    own_folder(root).mkdir(parents=True)
    with (own_folder(root) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DensebenchError, match="another `densebench data prepare` is at work"):
            prepare("voc", root, options)
    assert prepare("voc", root, options).problems == []


PROCESS = """
import json, sys
from pathlib import Path
from densebench.prepare.pipeline import Options, prepare
from densebench.prepare.sources import Table
name, root, table = sys.argv[1:]
table = Table.model_validate(json.loads(Path(table).read_text()))
print(prepare(name, Path(root), Options(accept=True, table=table)).problems)
"""


def start(name: str, root: Path, table: Table) -> subprocess.Popen[str]:
    file = root.parent / "table.json"
    file.write_text(json.dumps(table.model_dump()))
    command = [sys.executable, "-c", PROCESS, name, str(root), str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def kill_when(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_while_fetching_and_while_unpacking(
    root: Path, options: Options, server: Any, retable: Any, pack: Any
) -> None:
    """Both with real processes: the download goes on, the unpacking is done again."""
    members = {
        f"unlabeled2017/{n:06d}.jpg": np.random.default_rng(n).bytes(300) for n in range(4000)
    }
    members["unlabeled2017/000000.jpg"] = members["unlabeled2017/003999.jpg"] = pack.photo(1)
    table = retable(**{"unlabeled2017.zip": pack.zip(members)})
    archive = own_folder(root) / "downloads" / "unlabeled2017.zip"
    part = archive.with_name("unlabeled2017.zip.part")
    server.files["/unlabeled2017.zip"].pause = 0.01
    process = start("coco_unlabeled", root, table)
    kill_when(process, lambda: part.is_file() and part.stat().st_size > 50_000)
    have = part.stat().st_size
    assert not archive.exists()

    server.files["/unlabeled2017.zip"].pause = 0.0
    process = start("coco_unlabeled", root, table)
    temporary = root / "coco/images/.unlabeled2017.unpacking"
    kill_when(process, lambda: temporary.is_dir() and len(list(temporary.iterdir())) > 50)
    assert server.requests[-1] == ("/unlabeled2017.zip", f"bytes={have}-")
    assert not (root / "coco/images/unlabeled2017").exists()
    assert temporary.is_dir()

    requests = len(server.requests)
    report = prepare("coco_unlabeled", root, changed(options, table=table))
    assert len(server.requests) == requests  # the archive was whole
    assert not temporary.exists()
    written = tree(root)
    assert written == {f"coco/images/{name}": body for name, body in members.items()}
    assert report.splits["unlabeled2017"].images == 4000
    assert not archive.exists()


def test_broken_off_while_masks_are_made(
    root: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    from densebench.prepare import voc_augmented

    real = voc_augmented._convert
    monkeypatch.setattr(
        voc_augmented, "_convert", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        prepare("voc", root, options)
    assert not (root / "VOCdevkit/VOC2012/SegmentationClassAug").exists()
    monkeypatch.setattr(voc_augmented, "_convert", real)
    assert prepare("voc", root, options).problems == []
    assert not [file for file in tree(root) if ".making" in file]
