"""What is wrong with the options is told before data or weights are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from densebench.cards import card_path
from densebench.host.errors import DensebenchError
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions
from densebench.run.plan import plan_run


@pytest.fixture(autouse=True)
def nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    for load in ("images.load_dataset", "inputs.load_backbone"):
        monkeypatch.setattr(f"densebench.run.{load}", lambda *_, **__: pytest.fail("it was loaded"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"params": {"n_neigbours": 3}}, r"unknown key 'n_neigbours' \(did you mean"),
        ({"params": {"beta": -1}}, "key 'beta'"),
        ({"params": {"input_size": 100}}, "not divisible by the patch size 14; take 98 or 112"),
        ({"variant": "referense"}, "variants reference, clean, not 'referense'"),
        ({"backbone": "rgb_s15"}, r"did you mean 'rgb_s14'\?"),
        ({"task": "scenes_incontex"}, r"did you mean 'scenes_incontext'\?"),
        ({"device": "gpu"}, "'gpu' is no device"),
        ({"subset": "1/x"}, "wants a share such as 1/8"),
        ({"subset": "1/3"}, "1/3"),
        ({"train_list": Path("nowhere/train.txt")}, "nowhere/train.txt: no such list of images"),
        ({"val_list": Path("nowhere/val.txt")}, "nowhere/val.txt: no such list of images"),
    ],
)
def test_a_typo_is_told_at_once(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    wanted = {"backbone": "rgb_s14", "task": "scenes_incontext", "results": tmp_path / "results"}
    with pytest.raises(DensebenchError, match=told):
        evaluate(RunOptions(**{**wanted, **changes}))
    assert not list(tmp_path.iterdir())


def test_everything_is_resolved() -> None:
    options = RunOptions("rgb_s14", "scenes_incontext", params={"beta": 0.1}, device="cpu")
    plan = plan_run(options)
    assert (plan.card.name, plan.task.file.name) == ("scenes_incontext", "scenes_incontext.toml")
    assert plan.params.model_dump()["beta"] == 0.1
    assert "auto" not in (plan.params.positions, plan.params.normalisation)
    assert plan.input_size is not None and plan.input_size % 14 == 0
    assert not plan.as_shipped
    assert plan_run(RunOptions("rgb_s14", "scenes_incontext", device="cpu")).as_shipped


def test_a_list_of_the_dataset_s_own_is_looked_for_when_that_is_found() -> None:
    own = RunOptions("rgb_s14", "scenes_incontext", train_list=Path("train"), device="cpu")
    assert not plan_run(own).as_shipped


def test_layers_are_the_backbone_s_or_the_protocol_s(tmp_path: Path) -> None:
    options = RunOptions("dinov2_s14", "scenes_incontext", layers=(8,), device="cpu")
    assert plan_run(options).layers == (8,)
    both = replace(options, params={"layers": "four_even"})
    with pytest.raises(DensebenchError, match="its parameter layers is four_even, and the backb"):
        plan_run(both)
    with pytest.raises(DensebenchError, match="attention of the last block alone; leave layers"):
        plan_run(replace(options, task="scenes_attention_jaccard"))


def test_a_card_s_layers_are_the_command_s_unless_that_names_others(tmp_path: Path) -> None:
    text = card_path("backbones", "dinov2_s14").read_text()
    card = tmp_path / "four.toml"
    card.write_text(text.replace("patch_size", "layers = [2, 5, 8, 11]\npatch_size"))
    options = RunOptions(str(card), "scenes_incontext", device="cpu")
    assert plan_run(options).layers == (2, 5, 8, 11)
    assert plan_run(replace(options, layers=(8,))).layers == (8,)
    assert plan_run(replace(options, backbone="dinov2_s14")).layers is None
