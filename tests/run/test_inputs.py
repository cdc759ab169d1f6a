"""What tells a run from all others, from its plan, its images and its weights."""

from dataclasses import replace
from pathlib import Path

import pytest

from densebench.datasets.targets import Target
from densebench.run.images import load_images
from densebench.run.inputs import Identity
from densebench.run.options import RunOptions
from densebench.run.plan import plan_run
from densebench.run.remembered import Weights


@pytest.fixture
def identity(colour_task: Path) -> Identity:
    return identity_of(RunOptions("rgb_s14", str(colour_task), device="cpu"))


def identity_of(options: RunOptions) -> Identity:
    plan = plan_run(options)
    return Identity(plan, load_images(plan.task, options), Weights("rgb_s14", "0" * 64))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"variant": "clean"},
        {"params": {"beta": 0.5}},
        {"limit": 2},
        {"subset": "own:1/2"},
        {"precision": "bf16"},
        {"cache": "fp16"},
        {"skip_bad": True},
        {"allow_nondeterministic": True},
        {"layers": (1,)},
    ],
)
def test_what_can_move_a_number_is_in_the_id(identity: Identity, change: dict[str, object]) -> None:
    assert identity_of(replace(identity.plan.options, **change)).run_id != identity.run_id


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 1}, {"workers": 2}, {"panels": 3}, {"cache": "off"}, {"offline": True}],
)
def test_what_moves_none_is_not(identity: Identity, change: dict[str, object]) -> None:
    assert identity_of(replace(identity.plan.options, **change)).run_id == identity.run_id


def test_other_weights_are_another_run_of_the_same_protocol(identity: Identity) -> None:
    other = replace(identity, weights=Weights("rgb_s14", "1" * 64))
    assert other.run_id != identity.run_id
    assert other.protocol_hash == identity.protocol_hash


def test_another_target_is_another_protocol(identity: Identity) -> None:
    def with_target(target: Target) -> Identity:
        dataset = replace(identity.images.dataset, target=target)
        return replace(identity, images=replace(identity.images, dataset=dataset))

    plain = identity.images.dataset.target
    targets = [plain, replace(plain, void=0), replace(plain, classes=("a", "b", "c"))]
    targets += [Target("depth", "float32", 0.0), Target("depth", "float32", -1.0)]
    assert len({with_target(target).protocol_hash for target in targets}) == len(targets)
