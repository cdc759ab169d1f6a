"""What a training leaves: TOML, cards, a registered name."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from densebench.backbones import load_backbone
from densebench.cards import card_names, find_backbone
from densebench.posttrain.architecture import unfold_class_token
from densebench.posttrain.model_card import Origin
from densebench.posttrain.outcome import (
    as_toml,
    export,
    register,
    registered_card,
    training_card,
)
from densebench.posttrain.recipe import Recipe, load_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.usefixtures("own_places")
ORIGIN = Origin("tiny", "tiny", None, "b" * 64, 1200, "f" * 64, ("coco", "voc"), 80, 3)


def test_toml_comes_back_as_it_was() -> None:
    values = {
        "name": 'a "quoted" \\ name\twith é',
        "flag": True,
        "rates": [1e-05, 0.5, 3],
        "table": {"x": 1e-30, "empty": "", "many": ["a", "b"]},
    }
    assert tomllib.loads(as_toml(values)) == values


@pytest.mark.parametrize("name", ["neco_dinov2", "neco_dino"])
def test_a_recipe_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, {"training.seed": 4})
    (tmp_path / "recipe.toml").write_text(as_toml(recipe.model_dump(mode="json")))
    assert load_recipe(tmp_path / "recipe.toml") == recipe


def test_the_folder(make_backbone: Callable, make_recipe: Callable[..., Recipe]) -> None:
    student, teacher = make_backbone(seed=1), make_backbone(seed=2)
    folder = Path("new")
    path = export(folder, "mine", student, teacher, make_recipe(), ORIGIN)
    register("mine", path)
    assert {file.name for file in folder.iterdir()} == {
        "mine.toml",
        "student.safetensors",
        "teacher.safetensors",
        "recipe.toml",
        "README.md",
    }
    for name, backbone in (("student", student), ("teacher", teacher)):
        stored = load_file(folder / f"{name}.safetensors")
        assert all(torch.equal(stored[k], v) for k, v in backbone.model.state_dict().items())
    card = find_backbone(path).card
    assert card == find_backbone("mine").card
    assert card.adapted_from == "tiny"
    assert card.license == "MIT"
    assert card.training_data == "noise; then 1,200 images of coco, voc, no labels"
    assert card.weights is not None
    assert card.weights.path == "student.safetensors"
    assert "arXiv 2408.11054" in card.citation
    assert load_recipe(folder / "recipe.toml") == make_recipe()
    assert card.training is not None
    assert (card.training.base, card.training.base_fingerprint) == ("tiny", "b" * 64)
    facts = (card.training.recipe, card.training.seed, card.training.steps)
    assert facts == ("tiny", 0, 80)


def test_the_recipe_hash_is_of_everything_but_the_seed(make_recipe: Callable[..., Recipe]) -> None:
    def digest(origin: Origin = ORIGIN, **changes: object) -> str:
        return training_card(make_recipe(**changes), origin).recipe_hash

    same = [{"training__seed": 7}, {"training__checkpoint_every": 1}, {"monitor__images": 9}]
    assert {digest(**changes) for changes in same} == {digest()}
    others = [
        digest(**{key: value})
        for key, value in (
            ("model__teacher_head", "student"),
            ("training__steps", 5),
            ("optimiser__head_lr", 2e-3),
            ("views__global_size", 70),
            ("views__engine", "torch"),
        )
    ]
    others += [digest(replace(ORIGIN, fingerprint="c" * 64))]
    others += [digest(replace(ORIGIN, images_fingerprint="c" * 64))]
    assert len({*others, digest()}) == 8


def test_the_hash_of_a_recipe_is_what_it_was_before_views_had_an_engine() -> None:
    found = training_card(load_recipe("neco_clean"), ORIGIN).recipe_hash
    assert found == "14815538e5b6fd28199799f129ec29dcfd5fb4b93e67ffc70b5e9f52efddfc8e"


def test_a_card_tells_which_libraries_made_the_views(make_recipe: Callable[..., Recipe]) -> None:
    told = [
        training_card(make_recipe(views__engine=engine), ORIGIN).view_engine
        for engine in ("pillow", "torch")
    ]
    known = [f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "pillow")]
    assert told == [", ".join(known[1:]), ", ".join(known)]


def test_a_class_token_in_two_is_exported_as_one(
    make_backbone: Callable, make_recipe: Callable[..., Recipe]
) -> None:
    student, teacher = (make_backbone(reg_tokens=4, no_embed_class=True) for _ in range(2))
    names = student.model.state_dict().keys()
    for backbone in (student, teacher):
        unfold_class_token(backbone)
    with torch.no_grad():
        student.model.parametrizations.cls_token.original1.add_(1)
    whole = student.model.cls_token.detach().clone()
    export(Path("new"), "mine", student, teacher, make_recipe(), ORIGIN)
    stored = load_file("new/student.safetensors")
    assert stored.keys() == names
    assert torch.equal(stored["cls_token"], whole)


def test_a_plug_ins_card_finds_its_code_from_anywhere(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Conv2d):\n"
        "    patch_size, embed_dim, mean = 14, 5, (0.1, 0.2, 0.3)\n"
        "    def forward(self, images):\n"
        "        return super().forward(images).permute(0, 2, 3, 1)\n"
        "def make():\n"
        "    return Net(3, 5, 14, 14)\n"
    )
    backbone = load_backbone("net.py:make")
    origin = Origin("net.py:make", "net.py:make", None, "b" * 64, 5, "0", ("x",), 1, 0)
    register("mine", export(Path("new"), "mine", backbone, backbone, make_recipe(), origin))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = load_backbone("mine")
    assert (found.patch_size, found.embed_dim, found.mean) == (14, 5, (0.1, 0.2, 0.3))
    images = torch.randn(1, 3, 28, 28)
    assert torch.equal(found(images), backbone(images))
    card = find_backbone("mine").card
    assert card.license == "not stated"
    again = Origin("mine", "mine", None, "b" * 64, 5, "0", ("x",), 1, 0)
    register("again", export(Path("third"), "again", found, found, make_recipe(), again))
    assert torch.equal(load_backbone("again")(images), backbone(images))
    assert find_backbone("again").card.id == card.id


class TestRegistration:
    def test_a_deleted_folder_takes_its_name_along(self, tmp_path: Path) -> None:
        shutil.copytree(Path(__file__).parents[2] / "backbones", tmp_path / "cards")
        card = tmp_path / "cards/rgb_s14.toml"
        card.write_text(card.read_text().replace('"rgb_s14"', '"mine"'))
        register("mine", card)
        assert card_names("backbones")["mine"] == registered_card("mine")
        shutil.rmtree(tmp_path / "cards")
        assert "mine" not in card_names("backbones")
        assert registered_card("mine").is_symlink()

    def test_again_means_the_last_one(self, tmp_path: Path) -> None:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "mine.toml").write_text(f"name = {json.dumps('mine')}\n")
            register("mine", tmp_path / folder / "mine.toml")
        assert registered_card("mine").resolve() == tmp_path / "two/mine.toml"
        assert len([*registered_card("mine").parent.iterdir()]) == 1
