"""Real files: what a post-training was given against what it is scored on, by content."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from densebench.backbones import load_backbone
from densebench.cards import find_task, read_toml
from densebench.datasets import Split, load_dataset
from densebench.host.errors import DensebenchError
from densebench.run.contamination import IMAGES_FILE, contamination
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")

CARD = """name = "{name}"
source = "baseline"
id = "hog"
patch_size = 14
embed_dim = 41
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
position_embedding = "none"
license = "none"
training_data = "pictures"
adapted_from = "{base}"
"""


@pytest.fixture
def val(tmp_path: Path, write_dataset: Callable[..., Path]) -> Split:
    """Ten validation pictures."""
    found = find_task(write_dataset(tmp_path / "data", 4, 10))
    card, file = found.card, found.file
    return load_dataset(card.dataset, card_path=file).val


def sha256(file: str | Path) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """What a post-training leaves, as far as it matters here; gives the card's path."""

    def make(name: str, images: Sequence[str | Path], base: str = "hog_s14") -> Path:
        folder = tmp_path / "posttrained" / name
        folder.mkdir(parents=True)
        hashes = sorted({sha256(file) for file in images})
        (folder / IMAGES_FILE).write_text("".join(f"{line}\n" for line in hashes))
        (folder / f"{name}.toml").write_text(CARD.format(name=name, base=base))
        (folder / "teacher.safetensors").write_bytes(b"")
        return folder / f"{name}.toml"

    return make


def counts(found: object) -> tuple[int, int] | None:
    return None if found is None else (found.seen, found.total)  # type: ignore[attr-defined]


def test_images_are_told_by_content_not_by_name(
    val: Split, trained: Callable[..., Path], tmp_path: Path
) -> None:
    copies = [
        Path(shutil.copy(file, tmp_path / f"x{i}.png"))
        for i, file in enumerate(val.image_files[:3])
    ]
    other = tmp_path / "picture00.png"
    other.write_bytes(b"another content under a name of the training images")
    card = trained("mine", [*copies, other])
    assert counts(contamination(str(card), val)) == (3, 10)


def test_none_of_them_is_not_the_same_as_unknown(
    val: Split, trained: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    assert counts(contamination(str(trained("mine", [tmp_path / "x.png"])), val)) == (0, 10)
    assert contamination("hog_s14", val) is None
    assert contamination("timm:vit_small_patch16_224", val) is None
    assert contamination("mine.py:load", val) is None


def test_two_copies_of_one_picture_count_twice(val: Split, trained: Callable[..., Path]) -> None:
    shutil.copy(val.image_files[0], val.image_files[1])
    card = trained("mine", [val.image_files[0]])
    assert counts(contamination(str(card), val)) == (2, 10)


def test_the_images_of_a_chain_count_together(val: Split, trained: Callable[..., Path]) -> None:
    first = trained("first", val.image_files[:3])
    second = trained("second", val.image_files[2:4], base=str(first))
    third = trained("third", val.image_files[9:], base=str(second))
    found = [counts(contamination(str(card), val)) for card in (first, second, third)]
    assert found == [(3, 10), (4, 10), (5, 10)]


def test_a_link_of_the_chain_without_a_list_does_not_end_it(
    val: Split, trained: Callable[..., Path]
) -> None:
    first = trained("first", val.image_files[:3])
    second = trained("second", [], base=str(first))
    (second.parent / IMAGES_FILE).unlink()
    assert counts(contamination(str(second), val)) == (3, 10)


def test_a_chain_that_leads_back_ends(val: Split, trained: Callable[..., Path]) -> None:
    first = trained("first", val.image_files[:1])
    second = trained("second", val.image_files[1:2], base=str(first))
    first.write_text(CARD.format(name="first", base=second))
    assert counts(contamination(str(second), val)) == (2, 10)


def test_a_base_that_is_gone_leaves_the_rest(val: Split, trained: Callable[..., Path]) -> None:
    card = trained("mine", val.image_files[:3], base="deleted_since")
    assert counts(contamination(str(card), val)) == (3, 10)


def test_other_weights_bring_their_own_list(
    val: Split, trained: Callable[..., Path], tmp_path: Path
) -> None:
    first = trained("first", val.image_files[:3])
    second = trained("second", val.image_files[3:5], base=str(first))
    teacher = second.parent / "teacher.safetensors"
    assert counts(contamination("hog_s14", val, teacher)) == (5, 10)
    (tmp_path / "elsewhere.pth").write_bytes(b"")
    assert contamination(str(second), val, tmp_path / "elsewhere.pth") is None


def test_validation_images_in_an_archive(
    val: Split, trained: Callable[..., Path], tmp_path: Path
) -> None:
    card = trained("mine", val.image_files[:3])
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for file in val.image_files:
            tar.add(file, Path(file).name)
    inside = tuple(str(tmp_path / "images.tar" / Path(file).name) for file in val.image_files)
    assert counts(contamination(str(card), replace(val, image_files=inside))) == (3, 10)


def test_a_spoilt_list_is_refused_in_one_line(val: Split, trained: Callable[..., Path]) -> None:
    card = trained("mine", val.image_files[:3])
    (card.parent / IMAGES_FILE).write_text("abc\n")
    with pytest.raises(DensebenchError, match=r"images\.sha256: 'abc' is no SHA-256") as caught:
        contamination(str(card), val)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_real_post_training_on_three_of_the_ten(val: Split, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i, file in enumerate([*val.image_files[:3], *load_train(tmp_path).image_files]):
        shutil.copy(file, folder / f"{i}.png")
    command = [sys.executable, "-m", "densebench", "posttrain", "--backbone", "hog_mixer_s14"]
    command += ["--recipe", "neco_demo", "--data", str(folder), "--name", "mine"]
    command += ["--device", "cpu", "--set", "training.steps=1", "--set", "training.batch_size=2"]
    subprocess.run(command, check=True)
    listed = (tmp_path / "posttrained/mine" / IMAGES_FILE).read_text().split()
    assert listed == sorted(sha256(file) for file in folder.iterdir())
    assert counts(contamination("mine", val)) == (3, 10)
    teacher = tmp_path / "posttrained/mine/teacher.safetensors"
    assert counts(contamination("hog_mixer_s14", val, teacher)) == (3, 10)
    task = str(tmp_path / "data" / "retrieval.toml")
    record, _ = evaluate(RunOptions("mine", task, device="cpu", results=tmp_path / "results"))
    assert counts(record.contamination) == (3, 10)
    assert load_backbone("mine").fingerprint != load_backbone("hog_mixer_s14").fingerprint
    assert read_toml(tmp_path / "posttrained/mine/mine.toml")["adapted_from"] == "hog_mixer_s14"


def load_train(folder: Path) -> Split:
    found = find_task(folder / "data" / "retrieval.toml")
    card, file = found.card, found.file
    return load_dataset(card.dataset, card_path=file).train
