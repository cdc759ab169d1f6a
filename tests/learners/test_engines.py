"""Which engine searches, and the bytes of the published memory of a ViT-B."""

import pytest
import torch

from densebench.learners.engines import Place, chosen_engine

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)
ROWS, WIDTH = 10_240_000, 768
HALF = {"memory features in half precision": 15_728_640_000}
ON_GPU = {"on the GPU: memory features in half precision": 15_728_640_000}


def test_a_cpu_has_faiss_and_a_gpu_torch():
    assert chosen_engine("auto", CPU) == "faiss"
    assert chosen_engine("auto", CUDA) == "torch"
    assert chosen_engine("torch", CPU) == "torch"
    assert chosen_engine("faiss", CUDA) == "faiss"


@pytest.mark.parametrize(
    ("method", "engine", "device", "half_bank", "beside"),
    [
        ("exact", "auto", CPU, False, {}),
        ("exact", "auto", CPU, True, {}),
        ("exact", "torch", CPU, False, HALF),
        ("exact", "torch", CPU, True, {}),
        ("exact", "auto", CUDA, False, ON_GPU),
        ("exact", "auto", CUDA, True, ON_GPU),
        ("exact", "faiss", CUDA, False, {}),
        ("ivf", "auto", CPU, False, {"inverted file": 31_457_280_000}),
        ("ivf", "auto", CUDA, False, {"inverted file": 31_457_280_000}),
    ],
)
def test_what_a_search_takes(method, engine, device, half_bank, beside):
    place = Place(method, engine, device, half_bank)
    assert place.beside(ROWS, WIDTH) == beside
