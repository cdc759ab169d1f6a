"""Every shipped ladder: neighbours differ in what the rung declares, and in nothing else."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from densebench.cards import card_names, find_ladder, find_task
from densebench.host.errors import DensebenchError
from densebench.protocols import load_protocol
from densebench.run.options import RunOptions
from densebench.run.rungs import differences, plan_rungs, shown_changes

BASE = RunOptions("hog_s14", "", seed=3)
LADDERS = list(card_names("ladders"))


def planned(name):
    return plan_rungs(find_ladder(name), BASE)


@pytest.mark.parametrize("name", LADDERS)
def test_neighbours_differ_in_one_declared_factor(name):
    rungs = planned(name)
    assert len(rungs) > 10
    for before, rung in pairwise(rungs):
        (change,) = rung.card.changes
        assert differences(before, rung) == {change}
        assert rung.card.factor
        assert shown_changes(before, rung)[0].startswith(f"{change}: ")
        assert rung.facts["dataset"] == before.facts["dataset"]
        if change == "protocol":
            assert rung.scoring == before.scoring


@pytest.mark.parametrize("name", LADDERS)
def test_every_protocol_that_a_paper_scores_by_is_a_rung_as_its_card_ships(name):
    published = {
        rung.facts["protocol"]
        for rung in planned(name)
        if rung.card.variant == "reference" and not rung.card.params
    }
    assert published >= {"in_context", "knn", "logreg", "linear", "sliding_linear"}


@pytest.mark.parametrize("name", LADDERS)
def test_rungs_are_runs_of_the_base(name):
    for rung in planned(name):
        own = {"task": rung.card.task, "variant": rung.card.variant, "params": rung.card.params}
        assert rung.options == replace(BASE, **own)
        assert find_task(rung.options.task).card.name.startswith(name.removesuffix("_ladder"))


LADDER = """name = "tiny_ladder"
[[rung]]
name = "one"
task = "scenes_knn"
[[rung]]
name = "two"
task = "scenes_knn"
factor = "several"
changes = ["ks"]
params = {{ {params} }}
"""


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ("ks = [1], subsampling = 2", "changes ks, and it changes ks, subsampling"),
        ("ks = [1, 3, 10, 30]", "changes ks, and it changes nothing"),
        ("k = 1", "unknown key 'k'"),
    ],
)
def test_a_rung_that_does_not_change_what_it_says_is_refused(tmp_path: Path, params, told):
    (tmp_path / "tiny.toml").write_text(LADDER.format(params=params))
    with pytest.raises(DensebenchError, match=told) as caught:
        plan_rungs(find_ladder(tmp_path / "tiny.toml"), BASE)
    assert "\n" not in str(caught.value)


def test_another_protocol_must_be_scored_alike(tmp_path: Path):
    """In `reference` void is a class of the neighbours alone."""
    text = LADDER.format(params="").replace("scenes_knn", "scenes_logreg", 2)
    text = text.replace("scenes_logreg", "scenes_knn", 1).replace('"ks"', '"protocol"')
    (tmp_path / "tiny.toml").write_text(text)
    with pytest.raises(DensebenchError, match="and it changes protocol, scoring"):
        plan_rungs(find_ladder(tmp_path / "tiny.toml"), BASE)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('factor = "several"\n', "", "every rung but the first says its factor"),
        ('name = "two"', 'name = "one"', "names of rungs must be distinct"),
        ('task = "scenes_knn"\nfactor', 'task = "scenes_kn"\nfactor', "did you mean 'scenes_knn'"),
    ],
)
def test_a_card_that_is_none(tmp_path: Path, old, new, told):
    text = LADDER.format(params="ks = [1]").replace(old, new)
    (tmp_path / "tiny.toml").write_text(text)
    with pytest.raises(DensebenchError, match=told):
        plan_rungs(find_ladder(tmp_path / "tiny.toml"), BASE)


@pytest.mark.parametrize("name", ["sliding_linear_quirks", "depth_linear_quirks"])
def test_the_ladders_of_the_pages_take_one_quirk_at_a_time(name: str):
    folder = Path(__file__).parents[2] / "docs/protocols"
    first, *others = plan_rungs(find_ladder(folder / f"{name}.toml"), BASE)
    protocol = load_protocol(first.facts["protocol"])
    assert [len(rung.facts["quirks"]) for rung in others[:3]] == [1, 2, 3]
    assert set(others[-1].options.params["quirks"]) == set(protocol.QUIRKS)
    assert shown_changes(first, others[0]) == [f"quirks: auto -> {protocol.QUIRKS[0]}"]


QUOTED = {
    ("voc_ladder", "in_context"): {77.1, 74.6},
    ("ade20k_ladder", "in_context"): {37.7, 38.6},
    ("ade20k_ladder", "knn"): {35.2, 32.1, 29.7, 29.2},
    ("ade20k_ladder", "linear"): {41.8},
    ("ade20k_ladder", "sliding_linear"): {47.0, 48.8, 51.8, 54.9, 54.8},
}


def test_published_numbers_stand_on_the_rung_of_their_protocol_as_it_ships():
    found = {}
    for name in LADDERS:
        for rung in planned(name):
            if rung.card.published:
                found[name, rung.card.name] = {number.value for number in rung.card.published}
                assert (rung.card.variant, rung.card.params) == ("reference", {})
                assert not any("2506.18463" in number.source for number in rung.card.published)
    assert found == QUOTED
