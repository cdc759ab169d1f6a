"""Datasets of one's own: lists, endings, what `data init` is asked, and released kinds damaged."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RUN = "run --backbone rgb_s14 --results new --overwrite --task"
COMMANDS = {
    "retrieval": f"{RUN} data/retrieval.toml",
    "linear": f"{RUN} data/linear.toml",
    "depth": f"{RUN} data/depth_linear.toml",
    "verify": "data verify data/retrieval.toml",
    "skipping": f"{RUN} data/linear.toml --skip-bad",
    "share": f"{RUN} data/retrieval.toml --subset own:1/2",
    "sweep": "sweep --backbone rgb_s14 --task data/retrieval.toml --dry-run",
}
ENDINGS = [".jpg", ".jpeg", ".PNG", ".JPG", ".Jpeg"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["picture01", "picture05"], ids=["train", "val"])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "sweep"])
def test_an_image_under_two_endings(
    attempt: Callable, place: Path, command: str, name: str, ending: str
) -> None:
    """Which of them is meant cannot be known."""
    Image.new("RGB", (56, 42), "red").save(place / f"data/images/{name}{ending}", "PNG")
    done = attempt(*COMMANDS[command].split())
    assert f"{name}{ending}" in done.err
    assert not list(place.glob("new/**/*.json"))


@pytest.mark.parametrize("ending", [".PNG", ".Png", ".pnG"])
@pytest.mark.parametrize("command", ["retrieval", "linear", "depth", "verify"])
def test_a_mask_under_two_endings(
    attempt: Callable, place: Path, command: str, ending: str
) -> None:
    folder = place / ("data/depth" if "depth" in command else "data/masks")
    (folder / f"picture01{ending}").write_bytes((folder / "picture02.png").read_bytes())
    done = attempt(*COMMANDS[command].split())
    assert f"picture01{ending}" in done.err


LISTS: dict[str, bytes | Callable[[Path], object]] = {
    "empty": b"",
    "blank": b"\n \n\t\n",
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "gone": lambda path: None,
    "latin": b"picture00\ngr\xfcn\n",
    "nul": b"picture00\npic\0ture\n",
    "absent": b"picture00\nabsent\n",
    "twice": b"picture00\npicture00\n",
    "twice otherwise": b"picture00\nimages/picture00.png\n",
    "long": b"n" * 100_000,
    "many": b"\n".join(b"absent%d" % number for number in range(20_000)),
    "noise": bytes(range(256)) * 4,
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "escape": b"picture00\n\x1b[31mred\n",
    "outside": b"picture00\n/etc/passwd\n",
}


@pytest.mark.parametrize("which", ["train", "val"])
@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("command", ["linear", "depth", "verify", "given", "sweep"])
def test_no_list(attempt: Callable, place: Path, command: str, kind: str, which: str) -> None:
    file = place / (f"{which}.txt" if command == "given" else f"data/{which}.txt")
    file.unlink(missing_ok=True)
    made = LISTS[kind]
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        made(file)
    words = COMMANDS.get(command, f"{RUN} data/retrieval.toml --{which}-list ./{which}.txt").split()
    done = attempt(*words, may_work=command == "sweep")  # which tells that they are not known
    assert "\x1b" not in done.out + done.err
    assert not list(place.glob("new/**/*.json"))


INIT = {
    "--val": ["nan", "0", "1", "-1", "1.5", "x", "inf", "1e-300", ""],
    "--seed": ["-1", "1.5", "x", "9" * 30, "9" * 5000, ""],
    "--name": ["", " ", "a b", "a/b", "../x", "a\n", "a\x7f", "-x", "n" * 5000, "grün", "linear"],
    "--images": ["", "absent", "/etc", "..", "../data/images", "train.txt", "masks", "pipe", "."],
    "--masks": ["", "absent", "/etc", "..", "images", "train.txt", "pipe", "."],
}
ASKED = [(option, value) for option, values in INIT.items() for value in values]


@pytest.mark.parametrize(
    ("option", "value"), ASKED, ids=[ascii(f"{o}-{v[:9]}")[1:-1] for o, v in ASKED]
)
def test_what_init_is_asked(attempt: Callable, place: Path, option: str, value: str) -> None:
    os.mkfifo(place / "data/pipe")
    name = [] if option == "--name" else ["--name", "new"]
    fine = value in ("1e-300", "images", "masks", "../data/images")
    known = set((place / "data").iterdir())
    done = attempt("data", "init", "data", *name, option, value, may_work=fine)
    assert done.code == 0 or set((place / "data").iterdir()) == known


FOLDERS: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "file": Path.touch,
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "empty": Path.mkdir,
    "of folders": lambda path: (path / "images").mkdir(parents=True),
    "deep": lambda path: (path / "/".join("abcdefgh")).mkdir(parents=True),
    "of pipes": lambda path: (path.mkdir(), os.mkfifo(path / "a.png"), os.mkfifo(path / "a.jpg")),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("command", ["init", "verify"])
def test_no_folder_of_data(attempt: Callable, place: Path, command: str, kind: str) -> None:
    FOLDERS[kind](place / "mine")
    if command == "init":
        attempt("data", "init", "mine", "--name", "new")
        return
    card = place / "data/retrieval.toml"
    card.write_text(card.read_text().replace('root = "."', 'root = "../mine"'))
    attempt("data", "verify", "data/retrieval.toml")


def picture(path: Path, shape: tuple[int, ...], dtype: type, most: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, most, shape).astype(dtype)
    Image.fromarray(values).save(path)


def write_nyu(folder: Path) -> str:
    for part, count in (("train", 4), ("test", 2)):
        lines = []
        for number in range(count):
            names = [f"{part}/rgb_{number}.jpg", f"{part}/depth_{number}.png"]
            picture(folder / names[0], (42, 56, 3), np.uint8, 256)
            picture(folder / names[1], (42, 56), np.uint16, 9000)
            lines.append(f"{' '.join(names)} 518.8")
        (folder / f"nyu_{part}.txt").write_text("\n".join(lines))
    return 'protocol = "depth_in_context"\n[dataset]\nkind = "nyuv2"'


def write_context(folder: Path) -> str:
    for part, count in (("train", 4), ("val", 2)):
        names = [f"{part}{number}" for number in range(count)]
        for name in names:
            picture(folder / f"JPEGImages/{name}.jpg", (42, 56, 3), np.uint8, 256)
            picture(folder / f"SegmentationClassContext/{name}.png", (42, 56), np.uint8, 60)
        file = folder / f"ImageSets/SegmentationContext/{part}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(names))
    return 'protocol = "in_context"\n[dataset]\nkind = "pascal_context"'


KINDS: dict[str, tuple[Callable[[Path], str], dict[str, str]]] = {
    "nyuv2": (
        write_nyu,
        {"list": "nyu_train.txt", "map": "train/depth_1.png", "image": "test/rgb_1.jpg"},
    ),
    "pascal_context": (
        write_context,
        {
            "list": "ImageSets/SegmentationContext/val.txt",
            "map": "SegmentationClassContext/val1.png",
            "image": "JPEGImages/train1.jpg",
        },
    ),
}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "gone": lambda path: None,
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "urandom": lambda path: path.symlink_to("/dev/urandom"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "text": lambda path: path.write_text("a b c d e\n"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "one word": lambda path: path.write_text("train/rgb_0.jpg\n"),
    "nan": lambda path: path.write_text("train/rgb_0.jpg train/depth_0.png nan\n"),
    "outside": lambda path: path.write_text("../../x.jpg ../../y.png 1\n"),
    "absolute": lambda path: path.write_text("/etc/passwd /etc/hostname 1\n"),
    "twice": lambda path: path.write_text("train/rgb_0.jpg train/depth_0.png 1\n" * 2),
    "latin": lambda path: path.write_bytes(b"gr\xfcn.jpg gr\xfcn.png 1\n"),
    "colours": lambda path: picture(path, (42, 56, 3), np.uint8, 256),
    "no class": lambda path: picture(path, (42, 56), np.uint8, 256),
    "another size": lambda path: picture(path, (41, 56), np.uint16, 59),
}
VERIFIED = ("verify", "pascal_context")  # of depth there is nothing to be verified by
# Pictures that are as good as any there.
FINE = {("image", "colours"), ("image", "no class"), ("image", "another size")}
SMALL = 'input_size = 28\nn_neighbours = 4\nmemory_size = "unbounded"\naugment = false\n'


def write_released(place: Path, kind: str) -> None:
    write, _ = KINDS[kind]
    text = write(place / kind)
    (place / "released.toml").write_text(
        f'name = "released"\n{text}\nroot = "{kind}"\n[params]\n{SMALL}'
    )


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("what", ["list", "map", "image"])
@pytest.mark.parametrize(("command", "kind"), [("run", kind) for kind in KINDS] + [VERIFIED])
def test_a_released_kind(
    attempt: Callable, place: Path, command: str, kind: str, what: str, damage: str
) -> None:
    write_released(place, kind)
    file = place / kind / KINDS[kind][1][what]
    file.unlink()
    if damage in ("colours", "no class", "another size"):
        DAMAGE[damage](file.with_suffix(".png"))
        file.with_suffix(".png").rename(file)
    else:
        DAMAGE[damage](file)
    words = f"{RUN} released.toml" if command == "run" else "data verify released.toml"
    attempt(*words.split(), may_work=(what, damage) in FINE)


@pytest.mark.parametrize("kind", KINDS)
def test_as_it_is_released_it_works(attempt: Callable, place: Path, kind: str) -> None:
    """So that the cases above are refused for their damage."""
    write_released(place, kind)
    done = attempt(*f"{RUN} released.toml".split(), may_work=True)
    assert done.code == 0, done.err
