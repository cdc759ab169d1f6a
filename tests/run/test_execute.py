"""Runs: subsets, identity, memory, the matrix."""

import json
import statistics
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.datasets.subset import subset_names
from densebench.datasets.transforms import Squash
from densebench.features.cache import feature_cache
from densebench.features.entries import Entry
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home
from densebench.host.watcher import Watcher
from densebench.records.identity import column_key
from densebench.records.panels import load_panels
from densebench.records.store import load_record
from densebench.run.execute import evaluate
from densebench.run.matrix import matrix_table, run_matrix
from densebench.run.options import RunOptions


class Listener(Watcher):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(0, 2**31))
def test_smaller_subsets_lie_in_larger_ones(n, seed):
    names = [f"image_{i}" for i in range(n)]
    shares = [set(subset_names(names, share, seed)) for share in ("1/128", "1/64", "1/8", "1/1")]
    assert shares[0] <= shares[1] <= shares[2] <= shares[3] == set(names)
    assert len(shares[2]) == max(1, round(n / 8))


def test_subsets_do_not_depend_on_the_order_of_names_but_on_the_seed():
    names = [f"image_{i}" for i in range(100)]
    assert subset_names(names[::-1], "1/8", 42) == subset_names(names, "1/8", 42)
    assert subset_names(names, "1/8", 400) != subset_names(names, "1/8", 42)
    for bad in ("0.5", "2/3", "1/0", "1/x", "1/"):
        with pytest.raises(DensebenchError, match="wants a share such as 1/8"):
            subset_names(names, bad, 0)


def _options(colour_task, results, **changes):
    return RunOptions("rgb_s14", str(colour_task), results=results, cache="off", **changes)


def test_a_subset_is_in_the_record_by_name_and_in_the_identity(colour_task, tmp_path):
    whole, _ = evaluate(_options(colour_task, tmp_path))
    part, path = evaluate(_options(colour_task, tmp_path, subset="own:1/2", subset_seed=7))
    assert part.dataset.n_train == 3
    assert (part.dataset.subset, part.dataset.subset_seed) == ("own:1/2", 7)
    assert part.dataset.train_names == json.loads(path.read_text())["dataset"]["train_names"]
    assert len(part.dataset.train_names) == 3
    assert whole.dataset.train_names is None
    assert part.dataset.fingerprint == whole.dataset.fingerprint
    assert part.protocol.hash == whole.protocol.hash
    other, _ = evaluate(_options(colour_task, tmp_path, subset="own:1/2", subset_seed=8))
    assert len({whole.run_id, part.run_id, other.run_id}) == 3
    assert other.dataset.fingerprint == part.dataset.fingerprint, "five seeds are one column"


def test_leaving_bad_images_out_is_another_run(colour_task, tmp_path):
    strict, _ = evaluate(_options(colour_task, tmp_path))
    lenient, _ = evaluate(_options(colour_task, tmp_path, skip_bad=True))
    assert strict.run_id != lenient.run_id


def test_reference_normalises_as_published_and_clean_as_the_card_says(colour_task, tmp_path):
    params = {}
    for variant in ("reference", "clean"):
        record, _ = evaluate(_options(colour_task, tmp_path, variant=variant))
        params[variant] = record.protocol.params
    assert params["reference"]["normalisation"] == "imagenet"
    assert params["reference"]["positions"] == "official"
    assert params["clean"]["normalisation"] == params["clean"]["positions"] == "card"


def test_only_the_package_s_own_task_unchanged_is_as_shipped(colour_task, tmp_path):
    record, _ = evaluate(_options(colour_task, tmp_path))
    assert not record.protocol.as_shipped
    small = {"results": tmp_path, "limit": 2}
    shipped, _ = evaluate(RunOptions("rgb_s14", "scenes_incontext", **small))
    assert shipped.protocol.as_shipped
    same, _ = evaluate(RunOptions("rgb_s14", "scenes_incontext", params={"beta": 0.02}, **small))
    assert same.protocol.as_shipped, "a parameter set to its own value is no change"
    changed, _ = evaluate(RunOptions("rgb_s14", "scenes_incontext", params={"beta": 0.1}, **small))
    assert not changed.protocol.as_shipped


def test_a_done_run_is_read_and_not_repeated(colour_task, tmp_path):
    first, path = evaluate(_options(colour_task, tmp_path))
    before = path.stat().st_mtime_ns
    listener = Listener()
    again, same = evaluate(_options(colour_task, tmp_path, batch_size=2), listener)
    assert (again, same) == (first, path)
    assert path.stat().st_mtime_ns == before
    assert any(line.startswith("already done") for line in listener.lines)
    evaluate(_options(colour_task, tmp_path, overwrite=True))
    assert path.stat().st_mtime_ns > before


def test_parameters_and_seeds_make_other_runs(colour_task, tmp_path):
    runs = [
        evaluate(_options(colour_task, tmp_path, **changes))[1]
        for changes in ({}, {"seed": 1}, {"params": {"beta": 0.1}}, {"variant": "clean"})
    ]
    assert len(set(runs)) == 4


def test_the_record_says_what_the_memory_will_take_before_the_work(colour_task, tmp_path):
    listener = Listener()
    evaluate(_options(colour_task, tmp_path), listener)
    assert listener.lines[0].startswith("memory: about")


def test_what_does_not_fit_is_refused_before_the_work(colour_task, tmp_path, monkeypatch):
    monkeypatch.setenv("DENSEBENCH_MEMORY", "1000")
    with pytest.raises(DensebenchError, match=r"needs .* more memory and .* are free"):
        evaluate(_options(colour_task, tmp_path))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_the_matrix_goes_on_after_a_failure(colour_task, tmp_path):
    base = replace(_options(colour_task, tmp_path), limit=3)
    listener = Listener()
    outcomes = run_matrix(base, ["rgb_s14", "no_such"], [str(colour_task)], [0, 1], listener)
    assert [outcome.record is not None for outcome in outcomes] == [True, True, False, False]
    assert "unknown backbone 'no_such'" in outcomes[2].reason
    mious = [load_record(outcome.path).score.value for outcome in outcomes[:2]]
    table = matrix_table(outcomes)
    assert [str(cell) for cell in table.columns[2].cells] == [
        f"{100 * statistics.mean(mious):.2f}",
        "failed",
    ]
    assert [line[:5] for line in listener.lines if line.startswith("[")] == [
        "[1/4]",
        "[2/4]",
        "[3/4]",
        "[4/4]",
    ]


class Greedy(torch.nn.Module):
    """A backbone on a device whose memory holds two images."""

    name, patch_size, embed_dim = "greedy", 14, 3
    mean = std = (0.5, 0.5, 0.5)

    def forward(self, images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)


def test_short_memory_halves_the_batch_and_says_so(colour_task):
    found = find_task(str(colour_task))
    card, path = found.card, found.file
    split = load_dataset(card.dataset, card_path=path).train
    listener, view = Listener(), Squash(28, (0.5,) * 3, (0.5,) * 3)
    roomy = PatchSource(split, Greedy(), batch_size=2)
    short = PatchSource(split, Greedy(), batch_size=6, watcher=listener)
    expected = torch.cat([batch.patches for batch in roomy.batches(view)])
    assert torch.equal(torch.cat([b.patches for b in short.batches(view)]), expected)
    assert listener.lines == [
        "the GPU's memory is short; going on in batches of 3",
        "the GPU's memory is short; going on in batches of 1",
    ]


HUNGRY = """
import os, signal, torch

class Hungry(torch.nn.Module):
    patch_size, embed_dim = 14, 3

    def forward(self, images):
        if len(images) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)

def build():
    return Hungry()
"""


@pytest.mark.slow
def test_a_run_that_the_system_kills_is_tried_with_half_the_batch(colour_task, tmp_path):
    (tmp_path / "hungry.py").write_text(HUNGRY)
    base = replace(_options(colour_task, tmp_path), batch_size=4)
    listener = Listener()
    backbone = f"{tmp_path / 'hungry.py'}:build"
    (outcome,) = run_matrix(base, [backbone], [str(colour_task)], [0], listener)
    assert outcome.record.batch_size == 1
    assert listener.lines[1:] == [
        "killed, most likely for memory; again with batches of 2",
        "killed, most likely for memory; again with batches of 1",
    ]


def test_panels_are_kept_beside_the_record(colour_task, tmp_path):
    record, path = evaluate(_options(colour_task, tmp_path, panels=2))
    index = load_panels(path.with_suffix(".panels"))
    assert index.run_id == record.run_id
    assert [panel.name for panel in index.panels] == ["picture06", "picture08"]
    assert path.exists()


NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    patch_size = 14
    embed_dim = 3

    def forward(self, images):
        patches = nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)
        return patches + 0.01 * torch.randn_like(patches)

def noisy():
    return Noisy()
"""


def test_features_that_change_at_every_pass_are_refused_or_marked(colour_task, tmp_path):
    (tmp_path / "noisy.py").write_text(NOISY)
    options = replace(_options(colour_task, tmp_path / "r"), backbone=f"{tmp_path}/noisy.py:noisy")
    with pytest.raises(DensebenchError, match=r"other features .* --allow-nondeterministic"):
        evaluate(options)
    assert not list((tmp_path / "r").rglob("*.json"))
    record, _ = evaluate(replace(options, allow_nondeterministic=True))
    assert record.nondeterministic
    steady, _ = evaluate(_options(colour_task, tmp_path / "r", allow_nondeterministic=True))
    assert not steady.nondeterministic, "the record says what is, not what was allowed"


@pytest.mark.parametrize("option", [{"precision": "fp8"}, {"cache": "fp64"}])
def test_python_is_refused_what_the_command_line_is(colour_task, tmp_path, option):
    with pytest.raises(DensebenchError, match=f"{next(iter(option))} is one of .* not 'fp"):
        RunOptions("rgb_s14", str(colour_task), results=tmp_path, **option)


def test_a_gpu_without_room_is_one_line(colour_task, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")

    monkeypatch.setattr("densebench.learners.votes.vote", full)
    with pytest.raises(DensebenchError, match=r"memory is too small: CUDA out of memory; lower"):
        evaluate(_options(colour_task, tmp_path))


def test_the_record_and_the_cache_say_where_features_were_computed(
    colour_task, tmp_path, monkeypatch
):
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "cache"))
    options = replace(_options(colour_task, tmp_path / "a"), cache="fp32")
    record, _ = evaluate(options)
    assert record.feature_devices == [record.device]
    for meta in (cache_home() / "features").glob("*/meta.json"):
        told = json.loads(meta.read_text())
        assert told["devices"] == [record.device]
        meta.write_text(json.dumps({**told, "devices": ["cuda (somewhere else)"]}))
    again, _ = evaluate(replace(options, results=tmp_path / "b"))
    assert again.feature_devices == ["cuda (somewhere else)"]


def test_the_record_names_the_training_images_in_the_order_of_their_list(colour_task, tmp_path):
    names = ["picture03", "picture00", "picture05", "picture01"]
    (tmp_path / "own.txt").write_text("\n".join(names))
    record, _ = evaluate(_options(colour_task, tmp_path, train_list=tmp_path / "own.txt"))
    assert record.dataset.train_names == names


def test_under_a_limit_below_its_need_a_run_writes_nothing_that_it_removes(
    colour_task, tmp_path, monkeypatch
):
    written = []
    write = Entry.write
    monkeypatch.setattr(Entry, "write", lambda e, *a: written.append(_bytes(a)) or write(e, *a))
    views = {"params": {"augmentation_epochs": 3, "augment": True}, "cache": "fp32"}
    options = replace(_options(colour_task, tmp_path / "a"), **views)
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "whole"))
    evaluate(options)
    needed, sizes = sum(written), [e.n_bytes for e in feature_cache().entries()]
    assert len(sizes) == 4  # three training views, and the validation's
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "limited"))
    monkeypatch.setenv("DENSEBENCH_CACHE_LIMIT", str((max(sizes) + min(sizes)) / 1e9))
    for number, wanted in enumerate((True, False)):  # what was kept serves the next run
        written.clear()
        evaluate(replace(options, results=tmp_path / str(number), overwrite=True))
        kept = feature_cache().entries()
        assert all(entry.filled == entry.images for entry in kept)
        assert (sum(written) > 0) == wanted
        assert sum(written) <= sum(entry.n_bytes for entry in kept) < needed


def _bytes(arguments):
    return sum(array.nbytes for array in arguments[1:])


def test_layers_are_another_row_of_the_same_column(tiny_task, tmp_path, blocks):
    base = RunOptions(blocks, str(tiny_task), device="cpu", results=tmp_path)
    plain, _ = evaluate(base)
    chosen, second = evaluate(replace(base, layers=(0, 2)))
    assert chosen.backbone.name == "blocks.py:make, layers 0+2"
    assert second.parent.parent.name == "blocks.py_make_layers_0+2"
    assert (chosen.backbone.layers, plain.backbone.layers) == ((0, 2), None)
    assert chosen.backbone.fingerprint == plain.backbone.fingerprint
    assert column_key(chosen) == column_key(plain)
    assert chosen.run_id != plain.run_id
    assert evaluate(replace(base, layers=(0, 2)))[1] == second
    with pytest.raises(DensebenchError, match=r"has the layers 0 to 2, not \[3\]; name each"):
        evaluate(replace(base, layers=(3,)))
    assert len(list(tmp_path.iterdir())) == 2


BLOCKS_CARD = """
name = "two"
source = "python"
id = "{id}"
patch_size = 14
embed_dim = 52
layers = [0, 2]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
position_embedding = "none"
license = "none"
training_data = "none"
"""


def test_a_card_s_layers_are_those_of_the_command(tiny_task, tmp_path, blocks):
    card = tmp_path / "two.toml"
    card.write_text(BLOCKS_CARD.format(id=blocks))
    base = RunOptions(str(card), str(tiny_task), device="cpu", results=tmp_path / "results")
    of_card, _ = evaluate(base)
    card.write_text(BLOCKS_CARD.format(id=blocks).replace("layers = [0, 2]", ""))
    of_command, _ = evaluate(replace(base, layers=(0, 2)))
    assert of_card.run_id == of_command.run_id
    assert of_card.backbone.name == of_command.backbone.name == "two, layers 0+2"
    assert of_card.score == of_command.score
