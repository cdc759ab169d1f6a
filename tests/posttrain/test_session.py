"""One post-training from its options: which folder, which name, which recipe."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm import create_model

from densebench.backbones import load_backbone
from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.cards import BackboneCard, card_names, find_backbone
from densebench.files.locks import held
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain.journal import read_journal
from densebench.posttrain.optimiser import teachers_own_share
from densebench.posttrain.outcome import as_toml
from densebench.posttrain.recipe import load_recipe
from densebench.posttrain.session import PosttrainOptions, posttrain
from densebench.posttrain.trainer import Trainer
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("workplace")
BASE = PosttrainOptions("net.py:make", (Path("photos"),), "mine", recipe="tiny.toml", device="cpu")


def error_of(**changes: Any) -> str:
    with pytest.raises(DensebenchError) as caught:
        posttrain(replace(BASE, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Told(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_plug_in_the_whole_way() -> None:
    watcher = Told()
    before = torch.random.get_rng_state()
    card = posttrain(BASE, watcher)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert card == Path("posttrained/mine/mine.toml")
    assert find_backbone("mine").card.adapted_from == "net.py:make"
    assert watcher.lines[-1] == (
        "mine: net.py:make after tiny, 4 steps of 4 images out of 10, on cpu"
    )
    student = load_file("posttrained/mine/student.safetensors")
    teacher = load_file("posttrained/mine/teacher.safetensors")
    base = load_backbone(BASE.backbone).module.state_dict()
    assert student.keys() == teacher.keys() == base.keys()
    for name, value in base.items():
        fixed = "running" in name or "num_batches" in name
        assert torch.equal(student[name], value) == fixed, name
        assert torch.equal(teacher[name], value) == fixed, name
    found = load_backbone("mine").module.state_dict()
    assert all(torch.equal(found[name], student[name]) for name in student)
    by_file = load_backbone("mine", weights="posttrained/mine/teacher.safetensors")
    assert all(torch.equal(by_file.module.state_dict()[k], teacher[k]) for k in teacher)
    assert load_recipe("posttrained/mine/recipe.toml") == load_recipe("tiny.toml")


def test_a_timm_card_keeps_the_names_of_its_file() -> None:
    model = create_model("test_vit", num_classes=7)
    save_file(model.state_dict(), "base.safetensors")
    card = BackboneCard(
        name="small",
        source="timm",
        id="test_vit",
        weights={"path": "base.safetensors"},
        patch_size=16,
        embed_dim=64,
        prefix_tokens=1,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        position_embedding="dino",
        drop_keys=("head.", "fc_norm."),
        license="Apache-2.0",
        training_data="noise",
    )
    Path("small.toml").write_text(as_toml(card.model_dump(mode="json", exclude_none=True)))
    sizes = {"views.global_size": 64, "views.local_size": 32, "training.steps": 1}
    posttrain(replace(BASE, backbone="small.toml", overrides=sizes))
    found = find_backbone("mine").card
    assert (found.adapted_from, found.license, found.id) == ("small", "Apache-2.0", "test_vit")
    exported, base = load_file("posttrained/mine/student.safetensors"), model.state_dict()
    assert exported.keys() == base.keys()
    assert torch.equal(exported["head.weight"], base["head.weight"])
    assert not torch.equal(exported["cls_token"], base["cls_token"])
    model.load_state_dict(exported)
    assert (
        load_backbone("mine").model.blocks[0].attn.qkv.weight.equal(model.blocks[0].attn.qkv.weight)
    )
    again = replace(BASE, backbone="mine", name="twice", overrides=sizes)
    posttrain(again)
    assert find_backbone("twice").card.adapted_from == "mine"
    assert load_file("posttrained/twice/student.safetensors").keys() == base.keys()


def test_an_open_clip_tower_the_whole_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_task: Path
) -> None:
    vision = {"image_size": 28, "layers": 2, "width": 64, "head_width": 32, "patch_size": 14}
    text = {"context_length": 5, "vocab_size": 20, "width": 32, "heads": 2, "layers": 1}
    Path("configs").mkdir()
    arch = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    Path("configs/tiny-clip.json").write_text(json.dumps(arch))
    open_clip.add_model_config(Path("configs"))
    tag = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "hf_hub": "someone/tiny/"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, name: tag)
    save_file(open_clip.create_model("tiny-clip").state_dict(), "clip.safetensors")
    base = replace(BASE, backbone="open_clip:tiny-clip/tag", weights=Path("clip.safetensors"))
    posttrain(replace(base, overrides={"model.trainable_blocks": 1}))
    assert find_backbone("mine").card.adapted_from == "open_clip:tiny-clip/tag@clip"
    before = load_file("clip.safetensors")
    after = load_file("posttrained/mine/student.safetensors")
    assert after.keys() == {name for name in before if name.startswith("visual.")}
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name for name in changed if ".1." not in name} == {
        "visual.ln_post.weight",
        "visual.ln_post.bias",
    }
    record, _ = evaluate(RunOptions("mine", str(tiny_task), device="cpu"))
    assert record.backbone.name == "mine"
    assert record.backbone.fingerprint == load_backbone("mine").fingerprint


def test_it_keeps_the_hashes_of_its_images_and_the_facts(workplace: Path) -> None:
    shutil.copy("photos/photo001.png", "photos/twin.png")
    base = load_backbone(BASE.backbone).fingerprint
    posttrain(replace(BASE, overrides={"training.seed": 3}))
    listed = Path("posttrained/mine/images.sha256").read_text().splitlines()
    hashes = {hashlib.sha256(p.read_bytes()).hexdigest() for p in Path("photos").iterdir()}
    assert listed == sorted(hashes)
    assert len(listed) == 10
    training = find_backbone("mine").card.training
    assert training is not None
    assert (training.base, training.base_fingerprint) == ("net.py:make", base)
    assert (training.recipe, training.seed, training.steps) == ("tiny", 3, 4)
    posttrain(replace(BASE, name="other"))
    found = find_backbone("other").card.training
    assert found is not None and found.recipe_hash == training.recipe_hash
    Path("photos/photo001.png").unlink()
    posttrain(replace(BASE, name="fewer"))
    found = find_backbone("fewer").card.training
    assert found is not None and found.recipe_hash == training.recipe_hash  # its twin is there
    Path("photos/twin.png").unlink()
    posttrain(replace(BASE, name="fewest"))
    found = find_backbone("fewest").card.training
    assert found is not None and found.recipe_hash != training.recipe_hash


def test_killed_after_hashing_starts_over() -> None:
    Path("posttrained/mine").mkdir(parents=True)
    Path("posttrained/mine/images.sha256").write_text("0" * 64 + "\n")
    posttrain(BASE)
    assert "0" * 64 not in Path("posttrained/mine/images.sha256").read_text()


class TestShortTrainings:
    @pytest.mark.parametrize(
        ("overrides", "warned"),
        [
            ({}, True),
            ({"model.teacher_head": "student"}, False),
            ({"model.head_layers": 0}, False),
        ],
    )
    def test_are_warned_of_independent_heads(self, overrides: dict[str, Any], warned: bool) -> None:
        watcher = Told()
        posttrain(replace(BASE, overrides=overrides), watcher)
        lines = [line for line in watcher.lines if line.startswith("warning: ")]
        assert len(lines) == warned
        if warned:
            assert lines[0].startswith("warning: 4 steps are few for")
            assert "1.00 of the teacher's first one is left" in lines[0]
            assert "(0.9995^4 = 1.00 " in lines[0]
            assert "--recipe neco_clean" in lines[0]

    def test_what_is_left(self) -> None:
        recipe = load_recipe("neco_dinov2")
        assert teachers_own_share(recipe, 160) == pytest.approx(0.9605, abs=1e-4)
        assert teachers_own_share(recipe, 25 * 1848) < 1e-4
        constant = load_recipe("neco_dinov2", {"model.momentum": [0.9995, 0.9995]})
        assert teachers_own_share(constant, 160) == pytest.approx(0.9995**160)


class TestNames:
    @pytest.mark.parametrize("name", ["no/slash", "", ".hidden", "a b"])
    def test_that_are_none(self, name: str) -> None:
        assert error_of(name=name).startswith(f"--name '{name}': use letters")

    def test_of_a_shipped_card(self) -> None:
        told = error_of(name="dinov2_s14")
        assert told.startswith("--name dinov2_s14: is the name of /")
        assert not Path("posttrained").exists()

    def test_of_another_folder(self) -> None:
        posttrain(BASE)
        told = error_of(out=Path("elsewhere"))
        assert told.startswith("--name mine: is the name of /")
        shutil.rmtree("posttrained")
        assert "mine" not in card_names("backbones")
        posttrain(replace(BASE, out=Path("elsewhere")))
        assert find_backbone("mine").card.name == "mine"

    def test_that_are_not_registered_may_stand_in_several_folders(self) -> None:
        for folder in ("one", "two"):
            card = posttrain(replace(BASE, out=Path(folder), register=False))
            assert "mine" not in card_names("backbones")
            assert load_backbone(card).card.adapted_from == "net.py:make"


class TestFolders:
    def test_one_that_holds_a_training_is_not_written_over_unasked(self) -> None:
        posttrain(BASE)
        before = snapshot(Path("posttrained"))
        told = error_of()
        assert "holds a post-training already; --resume goes on with it" in told
        assert snapshot(Path("posttrained")) == before

    def test_overwrite(self) -> None:
        posttrain(BASE)
        before = snapshot(Path("posttrained"))
        bad = {"training.batch_size": 11}
        assert "fewer than training.batch_size" in error_of(overwrite=True, overrides=bad)
        assert snapshot(Path("posttrained")) == before
        Path("posttrained/mine/checkpoints").mkdir()
        Path("posttrained/mine/checkpoints/step-00009999.pt").write_bytes(b"of the last one")
        posttrain(replace(BASE, overwrite=True, overrides={"training.steps": 2}))
        assert len(read_journal(Path("posttrained/mine/log.jsonl"))) == 2
        assert not Path("posttrained/mine/checkpoints/step-00009999.pt").exists()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_one_that_is_no_training_is_left_alone(self, overwrite: bool) -> None:
        Path("thesis").mkdir()
        Path("thesis/chapter.tex").write_text("years of work")
        told = error_of(out=Path("thesis"), overwrite=overwrite)
        assert told == "thesis: is there already and is no post-training; choose --out"
        assert snapshot(Path("thesis")) == {"thesis/chapter.tex": b"years of work"}

    def test_nothing_to_go_on_with(self) -> None:
        assert "no checkpoint to go on from; leave --resume out" in error_of(resume=True)
        assert not Path("posttrained").exists()

    @pytest.mark.parametrize("resume", [False, True])
    def test_killed_before_the_first_checkpoint_starts_over(self, resume: bool) -> None:
        folder = Path("posttrained/mine")
        folder.mkdir(parents=True)
        (folder / "log.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"st')
        posttrain(replace(BASE, resume=resume))
        lines = read_journal(folder / "log.jsonl")
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert lines[0]["loss"] != 9.0


class TestUnreadable:
    def test_any_number_is_left_out_if_that_is_asked_for(self) -> None:
        for number in (1, 4, 7):
            Path(f"photos/photo00{number}.png").write_bytes(b"broken")
        told = error_of()
        assert "of 10 images cannot be used, more than one in a hundred; first: photos/" in told
        assert told.endswith("; or leave all such out with --skip-bad")
        watcher = Told()
        posttrain(replace(BASE, skip_bad=True, overwrite=True), watcher)
        skipped = [line for line in watcher.lines if line.startswith("skipped: ")]
        assert len(skipped) == 3
        text = " ".join(Path("posttrained/mine/README.md").read_text().split())
        assert "3 images could not be read and were left out." in text

    def test_all_are_too_many(self) -> None:
        for file in Path("photos").iterdir():
            file.write_bytes(b"broken")
        told = error_of(skip_bad=True)
        assert told.startswith("10 of 10 images cannot be used")
        assert "--skip-bad" not in told


class TestRecipes:
    def test_as_published_for_the_backbone(self) -> None:
        told = error_of(recipe=None)
        assert told.startswith("10 images are fewer than training.batch_size 64")

    def test_an_override_can_make_a_recipe_suit(self) -> None:
        sizes = {"views.local_size": 96, "views.cut_local": False}
        told = error_of(recipe="neco_dino", backbone="hog_mixer_s14", overrides=sizes)
        assert "views.global_size 224" not in told
        assert "views.local_size 96 does not divide into patches of 14" in told
        told = error_of(recipe="neco_dinov2", overrides={"views.global_size": 60})
        assert "use --set views.global_size=56" in told

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"backbone": "rgb_s14"}, "rgb_s14: has no parameters"),
            ({"data": (Path("nowhere"),)}, "nowhere: no such folder or list of images"),
            ({"recipe": "neco_dinov9"}, "unknown recipe 'neco_dinov9' (did you mean"),
            ({"overrides": {"training.epoch": 1}}, "did you mean 'epochs'?"),
            (
                {"overrides": {"monitor.every": 2, "monitor.task": "voc_incontex"}},
                "did you mean 'voc_incontext'?",
            ),
        ],
    )
    def test_bad_input_leaves_nothing(self, changes: dict[str, Any], told: str) -> None:
        assert told in error_of(**changes)
        assert not Path("posttrained").exists()


def test_watching_stays_in_the_log(tiny_task: Path) -> None:
    watched = {"monitor.every": 2, "monitor.task": str(tiny_task), "monitor.input_size": 60}
    posttrain(replace(BASE, overrides=watched, tensorboard=True))
    lines = read_journal(Path("posttrained/mine/log.jsonl"))
    found = [line for line in lines if "monitor_miou" in line]
    assert [line["step"] for line in found] == [2, 4]
    assert all(0 <= line["monitor_miou"] <= 1 for line in found)
    assert all(-1 <= line["monitor_consistency"] <= 1 for line in found)
    assert not [*Path().rglob("leaderboard/**/*.json")]
    assert len([*Path("posttrained/mine/tensorboard").iterdir()]) == 1
    posttrain(replace(BASE, name="unwatched"))
    plain = read_journal(Path("posttrained/unwatched/log.jsonl"))
    assert [line["loss"] for line in plain] == [line["loss"] for line in lines if "loss" in line]


class TestAlone:
    def test_another_training_of_the_name_is_refused(self) -> None:
        Path("posttrained").mkdir()
        with held(Path("posttrained/.mine.lock"), taken=lambda: None):
            assert "another post-training is at work there" in error_of()
        assert not Path("posttrained/mine").exists()
        posttrain(BASE)

    def test_a_name_that_is_no_text_is_found_before_the_training(self) -> None:
        folder = Path(os.fsdecode(b"gr\xfcn"))
        assert "no text, so that no card can name it" in error_of(out=folder)
        assert not folder.exists()

    def test_where_nothing_can_be_written_is_found_before_the_training(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("file").touch()
        monkeypatch.setenv("DENSEBENCH_HOME", "file/home")
        with pytest.raises(OSError, match="file/home"):
            posttrain(BASE)
        assert not Path("posttrained/mine").exists()


def test_a_card_with_layers_is_not_trained() -> None:
    card = card_of_plug_in()
    assert "has layers 0+2, and a post-training trains the backbone's own output" in error_of(
        backbone=str(card)
    )
    assert not Path("posttrained").exists()


def card_of_plug_in() -> Path:
    """Of HOG in three blocks that change nothing."""
    Path("blocks.py").write_text(
        "import torch\nfrom densebench.backbones import load_backbone\n"
        "def make():\n    hog = load_backbone('hog_s14')\n"
        "    hog.blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))\n"
        "    return hog\n"
    )
    values = find_backbone("hog_s14").card.model_dump(mode="json", exclude_none=True)
    values |= {"name": "b", "source": "python", "id": "blocks.py:make", "layers": [0, 2]}
    Path("b.toml").write_text(as_toml(values))
    return Path("b.toml")


def test_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, alike = (posttrain(replace(BASE, name=n, deterministic=n == "b")) for n in "ab")
    for file in ("student.safetensors", "teacher.safetensors"):
        assert (plain.parent / file).read_bytes() == (alike.parent / file).read_bytes()
    none_such = torch.zeros(4).put_  # of which torch has only one that may differ
    monkeypatch.setattr(Trainer, "run", lambda _: none_such(torch.tensor([1]), torch.ones(1)))
    assert "--deterministic: put_ has no algorithm" in error_of(deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
