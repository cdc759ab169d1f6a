"""Recipes: the published values, overrides, and what is refused."""

import ast
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from densebench import posttrain
from densebench.cards import card_names
from densebench.host.errors import DensebenchError
from densebench.posttrain.recipe import Recipe, load_recipe, published_recipe
from densebench.posttrain.views import ViewSettings


def error_of(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DensebenchError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPublished:
    """Section 4 of the protocols, number by number."""

    @pytest.mark.parametrize(
        ("name", "sizes", "batch", "epochs", "rate"),
        [
            ("neco_dinov2", (518, 98), 64, 25, 1e-5),
            ("neco_dinov2_b", (518, 98), 16, 25, 5e-6),
            ("neco_dinov2_reg_b", (518, 98), 16, 25, 1e-6),
            ("neco_dino", (224, 98), 45, 50, 1e-5),
        ],
    )
    def test_values(
        self, name: str, sizes: tuple[int, int], batch: int, epochs: int, rate: float
    ) -> None:
        recipe = load_recipe(name)
        views, loss, model = recipe.views, recipe.loss, recipe.model
        optimiser, training = recipe.optimiser, recipe.training
        assert (views.global_size, views.local_size) == sizes
        assert (views.global_crops, views.local_crops) == (2, 4)
        assert (views.global_scale, views.local_scale) == ((0.25, 1.0), (0.05, 0.25))
        assert views.min_intersection == 0.01
        assert (views.jitter, views.jitter_probability) == ((0.8, 0.8, 0.8, 0.2), 0.8)
        assert (views.grey_probability, views.blur_probability) == (0.2, 0.5)
        assert views.blur_sigma == (0.1, 2.0)
        assert loss.queue_size == (0 if name == "neco_dino" else 8192)
        assert (loss.align_size, loss.network) == (7, "bitonic")
        assert (loss.queue_counter, loss.masked_references) == ("published", "published")
        assert (loss.mask_mass, loss.smallest_part) == (0.6, 3)
        assert (model.teacher_head, model.positions) == ("own", "neco")
        assert model.class_token == "unfolded"
        assert (loss.student_steepness, loss.teacher_steepness) == (100.0, 100.0)
        assert (loss.similarity, loss.masks) == ("cosine", "all")
        assert (model.head_layers, model.head_hidden, model.head_dim) == (3, 2048, 256)
        assert (model.drop_path, model.momentum) == (0.1, (0.9995, 1.0))
        assert model.trainable_blocks == 0
        assert (optimiser.backbone_lr, optimiser.head_lr, optimiser.final_lr) == (rate, 1e-4, 0.0)
        assert (optimiser.weight_decay, optimiser.clip_norm) == ((0.04, 0.5), 0.0)
        assert (training.batch_size, training.epochs, training.steps) == (batch, epochs, 0)
        assert training.precision == "fp32"
        recipe.check_patch_size(16 if name == "neco_dino" else 14)

    def test_clean_has_no_quirk_and_suits_patches_of_14_and_16(self) -> None:
        recipe = load_recipe("neco_clean")
        loss, model = recipe.loss, recipe.model
        assert (model.teacher_head, model.positions) == ("student", "card")
        assert model.class_token == "folded"
        assert (loss.queue_counter, loss.masked_references) == ("exact", "exact")
        assert not recipe.views.cut_local
        for patch in (8, 14, 16):
            recipe.check_patch_size(patch)

    @pytest.mark.parametrize("name", card_names("recipes"))
    def test_shipped_recipes_are_named_as_their_file(self, name: str) -> None:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        sizes = (recipe.views.global_size, recipe.views.local_size)
        if not recipe.views.cut_local:
            assert any(all(size % patch == 0 for size in sizes) for patch in (14, 16))

    @pytest.mark.parametrize(
        ("asked", "name"),
        [
            ((14,), "neco_dinov2"),
            ((14, 384, True), "neco_dinov2"),
            ((14, 768), "neco_dinov2_b"),
            ((14, 768, True), "neco_dinov2_reg_b"),
            ((16, 768), "neco_dino"),
        ],
    )
    def test_for_a_backbone(self, asked: tuple[Any, ...], name: str) -> None:
        assert published_recipe(*asked) == name

    def test_for_other_patches_none(self) -> None:
        assert "name one with --recipe" in error_of(published_recipe, 8)


class TestOverrides:
    def test_by_dotted_key(self) -> None:
        changes = {"training.epochs": 3, "views.local_crops": 0, "model.momentum": [0.9, 1]}
        recipe = load_recipe("neco_dinov2", changes)
        assert (recipe.training.epochs, recipe.views.local_crops) == (3, 0)
        assert recipe.model.momentum == (0.9, 1.0)
        assert load_recipe("neco_dinov2").training.epochs == 25

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("training.epoch", 3, "unknown key 'training.epoch' (did you mean 'epochs'?)"),
            ("views.globl_size", 3, "unknown key 'views.globl_size' (did you mean 'global_size'?)"),
            ("trainin.epochs", 3, "unknown key 'trainin' (did you mean 'training'?)"),
            ("epochs", 3, "unknown key 'epochs'"),
            ("name.x", 3, "--set name.x: name is no table"),
            ("training.epochs", 0, "greater than or equal to 1"),
            ("training.epochs", True, "another kind"),
            ("training.precision", "fp16", "'auto', 'fp32' or 'bf16'"),
            ("optimiser.backbone_lr", -1, "greater than or equal to 0"),
            ("optimiser.head_lr", 1e38, "less than or equal to"),
            ("optimiser.betas", [0.9, 1.0], "betas below 1"),
            ("optimiser.weight_decay", [-1, 0.5], "numbers from 0 on"),
            ("model.drop_path", 1, "less than 1"),
            ("model.momentum", [0.9, 1.1], "between 0 and 1"),
            ("loss.network", "bubble", "'bitonic' or 'odd_even'"),
            ("loss.masks", "some", "'all', 'fg' or 'bg'"),
            ("loss.mask_mass", 1, "less than 1"),
            ("loss.queue_counter", "right", "'published' or 'exact'"),
            ("loss.masked_references", "right", "'published' or 'exact'"),
            ("model.teacher_head", "none", "'own' or 'student'"),
            ("model.positions", "timm", "'neco' or 'card'"),
            ("model.class_token", "both", "'unfolded' or 'folded'"),
            ("loss.student_steepness", 0, "greater than 0"),
            ("monitor.every", 5, "every needs task"),
            ("views.global_scale", [0.5, 2], "0 < low <= high <= 1"),
            ("views.grey_probability", 1.5, "give 0 to 1"),
            ("views.jitter", [1, 1, 1, 0.6], "for the hue up to 0.5"),
            ("views.blur_sigma", [2, 1], "0 <= low <= high"),
            ("views.engine", "tourch", "'pillow' or 'torch'"),
        ],
    )
    def test_bad_ones(self, key: str, value: Any, told: str) -> None:
        assert told in error_of(load_recipe, "neco_dinov2", {key: value})

    def test_unknown_recipe(self) -> None:
        told = error_of(load_recipe, "neco_dinov3")
        assert "unknown recipe 'neco_dinov3' (did you mean 'neco_dino" in told

    def test_an_unknown_key_in_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text('name = "mine"\n[optimizer]\nbackbone_lr = 1\n[training]\nbatch_size = 2\n')
        told = error_of(load_recipe, file)
        assert told.startswith(f"{file}: unknown key 'optimizer' (did you mean 'optimiser'?)")


class TestPatchSize:
    def test_says_which_override_would_do(self) -> None:
        recipe = load_recipe("neco_dinov2")
        recipe.check_patch_size(14)
        told = error_of(recipe.check_patch_size, 16)
        assert "views.global_size 518" in told
        assert "--set views.global_size=512" in told
        told = error_of(load_recipe("neco_dinov2", {"views.global_size": 512}).check_patch_size, 16)
        assert "--set views.local_size=96" in told

    def test_local_views_may_be_cut(self) -> None:
        load_recipe("neco_dino").check_patch_size(16)
        told = error_of(load_recipe("neco_dino", {"views.cut_local": False}).check_patch_size, 16)
        assert "views.local_size 98" in told
        told = error_of(load_recipe("neco_dino", {"views.local_size": 9}).check_patch_size, 16)
        assert "views.local_size 9 does not divide" in told

    def test_local_views_count_where_there_are_any(self) -> None:
        load_recipe("neco_dino", {"views.local_crops": 0, "views.local_size": 1}).check_patch_size(
            16
        )


def test_every_knob_is_read_by_the_trainer() -> None:
    """Where it is only defined does not count, nor does what other packages call the same."""
    folder = Path(posttrain.__file__).parent
    read = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    strings = {"global_scale", "local_scale"}  # in getattr, and through settings in draw_crops
    tables = [f.annotation for f in Recipe.model_fields.values()]
    knobs = {
        key
        for table in tables
        for key in getattr(table, "model_fields", getattr(table, "__dataclass_fields__", {}))
    } - {"__pydantic_config__"}
    assert len(knobs) > 40
    assert knobs - read - strings == set()
    assert {field.name for field in fields(ViewSettings)} <= knobs
