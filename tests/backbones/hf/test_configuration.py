"""What a model's own files say is looked at before it is believed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from densebench.backbones.hf.configuration import (
    CONFIG,
    read_configuration,
    read_normalisation,
)
from densebench.host.errors import DensebenchError

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def written(folder: Path, values: Any, name: str = CONFIG) -> Path:
    path = folder / name
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_facts_are_the_configuration_s(tmp_path: Path) -> None:
    values = {"model_type": "dinov2_with_registers", "num_register_tokens": 3, **SIZES}
    found = read_configuration(written(tmp_path, values))
    assert found.facts() == {"patch_size": 8, "embed_dim": 32, "prefix_tokens": 4}
    beside = {"model_type": "siglip", "vision_config": {**SIZES, "patch_size": 16}}
    found = read_configuration(written(tmp_path, beside))
    assert found.facts() == {"patch_size": 16, "embed_dim": 32, "prefix_tokens": 0}


def test_what_changes_no_feature_is_left_out(tmp_path: Path) -> None:
    values = {"model_type": "vit", **SIZES, "layer_norm_eps": 1e-6}
    noise = {"architectures": ["A"], "torch_dtype": "float16", "id2label": {"0": "cat"}}
    plain = read_configuration(written(tmp_path, values)).stated
    assert read_configuration(written(tmp_path, {**noise, **values})).stated == plain
    assert plain == values


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("", "not valid JSON"),
        ("[1]", "holds no table, but list"),
        ("[" * 200_000, "nested too deeply"),
        ({}, "has no model_type; known are dinov2,"),
        ({"model_type": "resnet"}, "is none that can be a backbone"),
        ({"model_type": "dinov3"}, r"did you mean 'dinov\w+'"),
        ({"model_type": "own", "auto_map": {"AutoModel": "m.py"}}, "its own code is never run"),
        ({"model_type": ["vit"]}, "is none that can be a backbone"),
        ({"model_type": "clip", "vision_config": 3}, "vision_config is no table"),
        ({"model_type": "vit", **SIZES, "hidden_size": 10**12}, "hidden_size is 10000"),
        ({"model_type": "vit", **SIZES, "num_hidden_layers": 10**5}, "num_hidden_layers"),
        ({"model_type": "vit", **SIZES, "image_size": [10**9, 32]}, "image_size is"),
        ({"model_type": "vit", **SIZES, "hidden_size": "wide"}, "no configuration of ViTModel"),
        ({"model_type": "vit", **SIZES, "hidden_size": 0}, "whole numbers from 1 on"),
        ({"model_type": "vit", **SIZES, "num_channels": 1}, "takes 1 channels"),
        ({"model_type": "dinov2", **SIZES, "patch_size": [8, 4]}, "only square ones"),
    ],
)
def test_what_is_no_configuration(values: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match=told) as caught:
        read_configuration(written(tmp_path, values))
    assert "\n" not in str(caught.value) and CONFIG in str(caught.value)


def test_a_file_beyond_all_reason(tmp_path: Path) -> None:
    with (tmp_path / CONFIG).open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DensebenchError, match="is larger than"):
        read_configuration(tmp_path / CONFIG)


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DensebenchError, match=r"pip install 'densebench\[hf\]'"):
        read_configuration(written(tmp_path, {"model_type": "vit", **SIZES}))


MEAN = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
GIVEN = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (MEAN, GIVEN),
        ({**MEAN, "rescale_factor": 0.00392156862745098}, GIVEN),
        ({**MEAN, "do_normalize": False}, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        ({**MEAN, "rescale_factor": 1 / 127.5}, ((0.05, 0.1, 0.15), (0.25, 0.3, 0.35))),
    ],
)
def test_normalisation(values: Any, wanted: Any, tmp_path: Path) -> None:
    configuration = read_configuration(written(tmp_path, {"model_type": "vit", **SIZES}))

    def find(name: str) -> Path | None:
        return tmp_path / name if (tmp_path / name).is_file() else None

    assert read_normalisation(configuration, find) is None
    written(tmp_path, {"image_processor": values}, "processor_config.json")
    mean, std = read_normalisation(configuration, find)
    assert mean == pytest.approx(wanted[0]) and std == pytest.approx(wanted[1])
    written(tmp_path, {**values, "image_mean": [0.0, 0.0, 0.0]}, "preprocessor_config.json")
    assert read_normalisation(configuration, find)[0] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**MEAN, "image_mean": [0.1]}, "mean must be three numbers"),
        ({**MEAN, "image_std": [0, 1, 1]}, "must be above 0"),
        ({**MEAN, "image_mean": None}, "mean must be three numbers"),
        ({**MEAN, "rescale_factor": "x"}, "rescale_factor is 'x'"),
        ({**MEAN, "rescale_factor": 0}, "rescale_factor is 0"),
    ],
)
def test_what_is_no_normalisation(values: Any, told: str, tmp_path: Path) -> None:
    configuration = read_configuration(written(tmp_path, {"model_type": "vit", **SIZES}))
    path = written(tmp_path, values, "preprocessor_config.json")
    with pytest.raises(DensebenchError, match=told) as caught:
        read_normalisation(configuration, {"preprocessor_config.json": path}.get)
    assert str(path) in str(caught.value)
