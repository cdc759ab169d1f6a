"""What the folder of a post-training holds already."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from densebench.cards import card_names
from densebench.host.errors import DensebenchError
from densebench.posttrain import session
from densebench.posttrain.resumption import finished_card, goes_on, prepare, remove_checkpoints
from densebench.posttrain.session import PosttrainOptions, posttrain

BASE = PosttrainOptions("net.py:make", (Path("photos"),), "mine", recipe="tiny.toml", device="cpu")


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


def snapshot() -> dict[str, bytes]:
    files = Path("posttrained").rglob("*")
    return {str(path): path.read_bytes() for path in sorted(files) if path.is_file()}


@pytest.mark.usefixtures("workplace")
class TestFinished:
    def test_a_finished_one_keeps_no_checkpoint(self) -> None:
        posttrain(BASE)
        assert {path.name for path in Path("posttrained/mine").iterdir()} == {
            "README.md",
            "images.sha256",
            "log.jsonl",
            "mine.toml",
            "recipe.toml",
            "student.safetensors",
            "teacher.safetensors",
        }

    def test_killed_at_the_end_is_exported_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(session, "remove_checkpoints", lambda folder: None)
            posttrain(BASE)
        before = snapshot()
        assert any("checkpoints" in path for path in before)
        Path("posttrained/mine/student.safetensors").unlink()
        posttrain(replace(BASE, resume=True))
        kept = {path: content for path, content in before.items() if "checkpoints" not in path}
        assert snapshot() == kept

    def test_a_finished_one_resumed_is_left_as_it_is(self, ear: Any) -> None:
        card = posttrain(BASE)
        before = snapshot()
        Path(card_names("backbones")["mine"]).unlink()
        watched = {"monitor.images": 9}
        assert posttrain(replace(BASE, resume=True, overrides=watched), ear) == card
        assert ear.lines == ["mine: is finished"]
        assert snapshot() == before
        assert "mine" in card_names("backbones")

    @pytest.mark.parametrize("what", ["base", "recipe", "set of images"])
    def test_a_finished_one_is_not_taken_for_another(self, what: str) -> None:
        posttrain(BASE)
        before = snapshot()
        changes: dict[str, Any] = {}
        if what == "base":
            code = Path("net.py").read_text()
            Path("net.py").write_text(code.replace("manual_seed(0)", "manual_seed(1)"))
        elif what == "recipe":
            changes["overrides"] = {"training.seed": 1}
        else:
            Path("photos/photo001.png").unlink()
        with pytest.raises(DensebenchError) as caught:
            posttrain(replace(BASE, resume=True, **changes))
        told = f"is a finished post-training with another {what}; use the options that"
        assert told in str(caught.value)
        assert snapshot() == before
