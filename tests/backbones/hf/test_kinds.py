import pytest
import torch
import transformers
from torch import nn

from densebench.backbones.hf.kinds import KINDS, embeddings_of, part, table_of


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_one_that_transformers_has(kind: str) -> None:
    known = KINDS[kind]
    of_model = getattr(transformers, known.model)
    assert of_model.config_class.model_type in (kind, f"{kind}_vision_model")
    assert hasattr(transformers, known.processor)


@pytest.mark.parametrize("kind", ["dinov3_vit", "vit", "clip", "siglip"])
def test_what_is_normalised_by_is_the_processor_s(kind: str) -> None:
    known = KINDS[kind]
    processor = getattr(transformers, known.processor)
    assert tuple(processor.image_mean) == known.mean
    assert tuple(processor.image_std) == known.std


def test_the_first_part_that_is_there() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(1, 1)})})
    assert part(model, ("none", "a.b")) is model["a"]["b"]
    with pytest.raises(AttributeError):
        part(model, ("none", "a.c"))


def test_tables_of_positions_by_both_names() -> None:
    module = nn.Module()
    assert table_of(module) is None
    module.position_embedding = nn.Embedding(4, 2)
    assert table_of(module).shape == (1, 4, 2)
    module.position_embeddings = nn.Parameter(torch.zeros(1, 5, 2))
    assert table_of(module).shape == (1, 5, 2)
    model = nn.Module()
    model.embeddings = module
    assert embeddings_of(model) is module
