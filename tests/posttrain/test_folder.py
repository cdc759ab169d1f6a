"""What the folder of a post-training holds already."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.posttrain.folder import finished_card, goes_on, prepare, remove_checkpoints


def hold(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


SAVED, WEIGHTS, LOG = "checkpoints/step-00000002.pt", "student.safetensors", "log.jsonl"


@pytest.mark.parametrize(
    ("names", "resume", "overwrite", "expected"),
    [
        ((), False, False, False),
        ((LOG,), False, False, False),
        ((LOG,), True, False, False),
        ((LOG, SAVED), True, False, True),
        ((LOG, SAVED, WEIGHTS), True, False, True),
        ((LOG, WEIGHTS), True, False, False),
        ((LOG, SAVED), False, True, False),
        ((), True, False, "no checkpoint to go on from; leave --resume out"),
        ((LOG, SAVED), False, False, "holds a post-training already; --resume goes on"),
        ((WEIGHTS,), False, False, "holds a post-training already"),
        (("thesis.tex",), False, True, "is there already and is no post-training; choose --out"),
    ],
)
def test_what_is_gone_on_with(
    tmp_path: Path, names: tuple[str, ...], resume: bool, overwrite: bool, expected: bool | str
) -> None:
    folder = hold(tmp_path / "out", *names)
    if isinstance(expected, bool):
        assert goes_on(folder, resume, overwrite) is expected
        return
    with pytest.raises(DensebenchError) as caught:
        goes_on(folder, resume, overwrite)
    assert expected in str(caught.value)


def test_finished_is_one_with_card_and_weights_and_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert finished_card(hold(tmp_path / "a", "mine.toml"), "mine") is None
    assert finished_card(hold(tmp_path / "b", WEIGHTS), "mine") is None
    whole = hold(tmp_path / "c", "mine.toml", WEIGHTS, SAVED)
    assert finished_card(whole, "mine") is None
    remove_checkpoints(whole)
    assert finished_card(whole, "mine") == whole / "mine.toml"
    assert finished_card(whole, "yours") is None
    remove_checkpoints(whole)


def test_it_is_cleared_only_when_asked(tmp_path: Path) -> None:
    folder = hold(tmp_path / "out", LOG)
    prepare(folder, clear=False)
    assert (folder / LOG).exists()
    prepare(folder, clear=True)
    assert [*folder.iterdir()] == []
