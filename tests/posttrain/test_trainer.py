"""The loop: its curve, its checkpoints, its ends."""

import copy
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from densebench.backbones import load_backbone
from densebench.backbones.base import DenseBackbone
from densebench.backbones.trainable import encoder_of
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain import interruption, learner
from densebench.posttrain.journal import read_journal
from densebench.posttrain.photographs import find_photographs
from densebench.posttrain.trainer import InterruptedTrainingError, Trainer

Make = Callable[..., Trainer]


def curve(trainer: Trainer) -> list[dict[str, Any]]:
    return [line for line in read_journal(trainer.place.folder / "log.jsonl") if "loss" in line]


def losses(trainer: Trainer) -> list[float]:
    return [line["loss"] for line in curve(trainer)]


def run(trainer: Trainer) -> Trainer:
    trainer.run()
    return trainer


def assert_same_end(one: Trainer, other: Trainer) -> None:
    """Bit for bit."""
    for part in ("student", "teacher", "queue"):
        ours, theirs = (getattr(trainer.learner, part).state_dict() for trainer in (one, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), part
    assert losses(one) == losses(other)


class Convolution(DenseBackbone):
    """A convolution with batch normalisation; `bad_from` counts forward passes."""

    def __init__(self, bad_from: int = 10**9) -> None:
        super().__init__("convolution", 14, 6)
        torch.manual_seed(0)
        self.patches, self.norm = nn.Conv2d(3, 6, 14, 14), nn.BatchNorm2d(6)
        self.passes, self.bad_from = 0, bad_from

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        features = self.norm(self.patches(images)).permute(0, 2, 3, 1)
        return features * float("nan") if self.passes > self.bad_from else features


class TestCurve:
    def test_a_line_per_step(self, make_trainer: Make) -> None:
        trainer = run(make_trainer())
        lines = curve(trainer)
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert [line["epoch"] for line in lines] == [0, 0, 1, 1]
        assert lines[0]["backbone_lr"] == 1e-3
        assert lines[2]["backbone_lr"] == pytest.approx(5e-4)
        assert all(line["loss"] > 0 and line["gradient_norm"] > 0 for line in lines)
        assert all(line["images_per_second"] > 0 for line in lines)
        assert lines[3]["weight_decay"] > lines[0]["weight_decay"]
        assert trainer.step == 4

    def test_it_learns(self, make_trainer: Make) -> None:
        plain = {f"views__{kind}_probability": 0.0 for kind in ("jitter", "grey", "blur")}
        found = losses(run(make_trainer(training__steps=24, **plain)))
        assert sum(found[-6:]) < 0.9 * sum(found[:6])

    def test_length_in_epochs(self, make_trainer: Make) -> None:
        assert make_trainer(training__steps=0, training__epochs=3).schedule.length == 6

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"loss__queue_size": 0},
            {"loss__masks": "fg"},
            {"loss__masks": "bg", "loss__queue_size": 0},
            {"loss__masks": "fg", "loss__queue_size": 0, "loss__masked_references": "exact"},
        ],
    )
    def test_portions_change_nothing(self, make_trainer: Make, changes: dict[str, Any]) -> None:
        whole = run(make_trainer("whole", **changes))
        parts = run(make_trainer("parts", training__accumulation=2, **changes))
        assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)

    def test_views_of_torch_train_as_those_of_pillow(self, make_trainer: Make) -> None:
        whole = run(make_trainer("pillow"))
        for number, more in enumerate(({}, {"training__accumulation": 2})):
            place = {"workers": number}
            changes = {"views__engine": "torch", **more}
            found = losses(run(make_trainer(f"torch{number}", place=place, **changes)))
            assert found == (pytest.approx(losses(whole), rel=1e-5) if more else losses(whole))

    def test_gradient_checkpointing_changes_nothing(self, make_trainer: Make) -> None:
        kept, again = (
            run(make_trainer(str(on), model__gradient_checkpointing=on, model__drop_path=0.3))
            for on in (False, True)
        )
        assert losses(again) == pytest.approx(losses(kept), rel=1e-5)

    def test_seeds_and_drop_path_change_it(self, make_trainer: Make) -> None:
        found = {
            tuple(losses(run(make_trainer(str(number), training__steps=2, **changes))))
            for number, changes in enumerate(
                ({}, {"training__seed": 1}, {"model__drop_path": 0.9}, {"loss__queue_size": 0})
            )
        }
        assert len(found) == 4

    def test_bf16(self, make_trainer: Make) -> None:
        exact = losses(run(make_trainer("exact")))
        half = run(make_trainer("half", training__precision="bf16"))
        assert losses(half) != exact
        assert losses(half) == pytest.approx(exact, rel=0.5)
        assert all(p.dtype == torch.float32 for p in half.student.parameters())

    def test_clipped_gradients(self, make_trainer: Make) -> None:
        free = run(make_trainer("free", training__steps=1))
        held = run(make_trainer("held", training__steps=1, optimiser__clip_norm=1e-3))
        norms = [curve(trainer)[0]["gradient_norm"] for trainer in (free, held)]
        assert norms[0] == norms[1] > 1e-3
        moments = [
            sum(float(s["exp_avg"].norm()) ** 2 for s in t.learner.optimiser.state.values()) ** 0.5
            for t in (free, held)
        ]
        assert moments[0] == pytest.approx(0.1 * norms[0], rel=1e-4)
        assert moments[1] == pytest.approx(0.1 * 1e-3, rel=1e-2)


class TestWhatTrains:
    def test_frozen_blocks_stay_in_both(self, make_trainer: Make) -> None:
        trainer = make_trainer(model__trainable_blocks=1)
        before = copy.deepcopy(trainer.student.backbone.state_dict())
        trainer.run()
        student, teacher = (t.backbone.state_dict() for t in (trainer.student, trainer.teacher))
        for name, value in before.items():
            trained = "blocks.1." in name or ".norm." in name
            assert torch.equal(student[name], value) != trained, name
            assert torch.equal(teacher[name], value) != trained, name

    def test_without_a_head_the_features_are_ordered(self, make_trainer: Make) -> None:
        trainer = run(make_trainer(model__head_layers=0))
        assert not [*trainer.student.head.parameters()]
        assert trainer.learner.queue is not None
        assert trainer.learner.queue.patches.shape == (2, 60, 24)
        assert len(losses(trainer)) == 4

    def test_a_convolution_keeps_its_statistics(self, make_trainer: Make, ear: Any) -> None:
        backbone = Convolution()
        trainer = make_trainer(backbone=backbone, place={"watcher": ear}, model__drop_path=0.1)
        before = copy.deepcopy(backbone.state_dict())
        trainer.run()
        assert ear.lines == ["convolution has no place for drop path; it trains without"]
        for name, value in backbone.state_dict().items():
            assert torch.equal(value, before[name]) == ("running" in name or "num_" in name)

    @pytest.mark.parametrize("kind", ["fg", "bg"])
    def test_masks(self, make_trainer: Make, kind: str) -> None:
        plain = losses(run(make_trainer("plain")))
        masked = losses(run(make_trainer("masked", loss__masks=kind)))
        assert len(masked) == 4
        assert masked != plain

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"training__batch_size": 11}, "10 images are fewer than training.batch_size 11"),
            ({"training__accumulation": 3}, "4 does not divide into 1 processes times"),
            ({"views__global_size": 60}, "views.global_size 60 does not divide into patches of 14"),
            ({"model__trainable_blocks": 5}, "trainable_blocks is 5, but it has 2 blocks"),
            ({"loss__masks": "fg", "views__global_size": 42}, "4x4 patches or more, not 3x3"),
        ],
    )
    def test_recipes_that_do_not_suit(
        self, make_trainer: Make, changes: dict[str, Any], told: str
    ) -> None:
        with pytest.raises(DensebenchError, match=told):
            make_trainer(**changes)

    def test_backbones_that_do_not_suit(self, make_trainer: Make) -> None:
        with pytest.raises(DensebenchError, match="rgb_s14: has no parameters"):
            make_trainer(backbone=load_backbone("rgb_s14"))
        with pytest.raises(DensebenchError, match="convolution: gives no attention"):
            make_trainer(backbone=Convolution(), loss__masks="bg")
        with pytest.raises(DensebenchError, match="needs a list of blocks"):
            make_trainer(backbone=Convolution(), model__gradient_checkpointing=True)

    @pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler for torch.compile")
    def test_compiled(self, make_trainer: Make) -> None:
        small = {"training__steps": 1, "views__local_crops": 0, "model__head_layers": 1}
        plain = run(make_trainer("plain", Convolution(), **small))
        with torch._inductor.config.patch(compile_threads=1, cpp_cache_precompile_headers=False):
            compiled = run(make_trainer("compiled", Convolution(), model__compile=True, **small))
        assert compiled.student._compiled_call_impl is not None
        assert losses(compiled) == pytest.approx(losses(plain), rel=1e-3)
        names = [[*encoder_of(t.student.backbone).state_dict()] for t in (plain, compiled)]
        assert names[0] == names[1]


class TestQuirks:
    def test_heads_of_their_own_or_one(self, make_trainer: Make) -> None:
        for kind, alike in (("own", False), ("student", True)):
            trainer = make_trainer(kind, model__teacher_head=kind)
            weights = [n.head.layers[0].weight for n in (trainer.student, trainer.teacher)]
            assert torch.equal(*weights) == alike
            backbones = [n.backbone.state_dict() for n in (trainer.student, trainer.teacher)]
            assert all(torch.equal(v, backbones[1][k]) for k, v in backbones[0].items())

    def test_the_teacher_follows_the_student_of_before_the_step(self, make_trainer: Make) -> None:
        trainer = make_trainer(training__steps=1, model__teacher_head="student")
        before = copy.deepcopy(trainer.teacher.state_dict())
        trainer.run()
        assert all(torch.allclose(v, before[k]) for k, v in trainer.teacher.state_dict().items())
        assert not torch.equal(
            trainer.student.head.layers[0].weight, before["head.layers.0.weight"]
        )

    def test_local_views_of_another_size_are_cut(self, make_trainer: Make) -> None:
        found = [
            losses(run(make_trainer(str(size), views__local_size=size, views__cut_local=True)))
            for size in (28, 33)
        ]
        assert found[0] != found[1]
        assert len(found[1]) == 4

    def test_nothing_to_compare_moves_nothing(
        self, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            learner, "foreground", lambda a, *_: torch.zeros_like(a[:, 0], dtype=torch.bool)
        )
        trainer = make_trainer(loss__masks="fg", training__steps=2, loss__queue_size=0)
        networks = (trainer.student, trainer.teacher)
        before = [copy.deepcopy(network.state_dict()) for network in networks]
        trainer.run()
        for network, kept in zip(networks, before, strict=True):
            assert all(torch.equal(v, kept[k]) for k, v in network.state_dict().items())
        assert losses(trainer) == [0.0, 0.0]


class TestWatching:
    def test_monitored_numbers_are_in_the_log(self, make_trainer: Make, ear: Any) -> None:
        modes = []

        def monitor(student: DenseBackbone) -> dict[str, float]:
            modes.append(student.training)
            torch.rand(3)  # what it draws changes nothing
            return {"monitor_miou": 0.25}

        watched = {"monitor__every": 2, "monitor__task": "scenes_incontext"}
        trainer = make_trainer(monitor=monitor, place={"watcher": ear}, **watched)
        trainer.run()
        lines = read_journal(trainer.place.folder / "log.jsonl")
        found = [(line["step"], line["monitor_miou"]) for line in lines if "monitor_miou" in line]
        assert found == [(2, 0.25), (4, 0.25)]
        assert modes == [False, False]
        assert trainer.student.training
        assert ear.lines == [f"after step {step}: monitor_miou 0.2500" for step in (2, 4)]
        assert losses(trainer) == losses(run(make_trainer("unwatched")))

    def test_status_and_progress(self, make_trainer: Make, ear: Any) -> None:
        run(make_trainer(place={"watcher": ear}))
        assert len(ear.statuses) == 4
        assert ear.statuses[0].startswith("loss ")
        assert ear.statuses[0].endswith(", learning rate 0.001")
        assert ear.counted == [("posttrain", 4)] * 4


class Acting(Watcher):
    """Does something after every step; told how many images it had."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act

    def advance(self, phase: str, done: int) -> None:
        self._act(done)


class Stopper:
    """Asks this process to stop after some images."""

    def __init__(self, after: int, number: int = signal.SIGINT) -> None:
        self.left, self.number = after, number

    def __call__(self, images: int) -> None:
        self.left -= images
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class TestGoingOn:
    @pytest.mark.parametrize(
        ("number", "engine"), [(signal.SIGINT, "pillow"), (signal.SIGTERM, "torch")]
    )
    def test_stopped_and_resumed_ends_bit_for_bit_the_same(
        self, make_trainer: Make, number: int, engine: str
    ) -> None:
        changes: dict[str, Any] = {"model__drop_path": 0.3, "views__engine": engine}
        changes |= {"training__steps": 6, "training__checkpoint_every": 4}
        unbroken = run(make_trainer("unbroken", **changes))
        handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        first = make_trainer("broken", place={"watcher": Acting(Stopper(20, number))}, **changes)
        with pytest.raises(InterruptedTrainingError, match="saved after step 5 of 6"):
            first.run()
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        second = make_trainer("broken", **changes)
        second.resume()
        assert second.step == 5
        assert_same_end(run(second), unbroken)

    def test_steps_after_the_last_checkpoint_are_repeated(self, make_trainer: Make) -> None:
        changes = {"training__steps": 5, "training__checkpoint_every": 3}
        unbroken = run(make_trainer("unbroken", **changes))

        def fail(_: int) -> None:
            raise MemoryError

        first = make_trainer("broken", place={"watcher": Acting(Stopper(8))}, **changes)
        with pytest.raises(InterruptedTrainingError):
            first.run()
        second = make_trainer("broken", place={"watcher": Acting(fail)}, **changes)
        second.resume()
        with pytest.raises(MemoryError):
            second.run()
        third = make_trainer("broken", **changes)
        third.resume()
        assert third.step == 2
        assert_same_end(run(third), unbroken)

    def test_a_finished_one_has_nothing_left(self, make_trainer: Make) -> None:
        first = run(make_trainer())
        second = make_trainer()
        second.resume()
        assert_same_end(run(second), first)

    def test_checkpoints_kept(self, make_trainer: Make) -> None:
        trainer = run(make_trainer(training__steps=5, training__keep_checkpoints=2))
        names = sorted(path.name for path in trainer.place.checkpoints.iterdir())
        assert names == ["step-00000004.pt", "step-00000005.pt"]

    def test_another_training_is_refused(
        self,
        make_trainer: Make,
        make_backbone: Callable,
        tmp_path: Path,
        write_photographs: Callable[..., Path],
    ) -> None:
        run(make_trainer(training__steps=2))
        others = find_photographs([write_photographs(tmp_path / "others", 9)])
        for told, changes in (
            ("recipe", {"training__steps": 3}),
            ("base backbone", {"training__steps": 2, "backbone": make_backbone(seed=1)}),
            ("set of images", {"training__steps": 2, "images": others}),
        ):
            with pytest.raises(DensebenchError, match=f"another {told}; use the options"):
                make_trainer(**changes).resume()
        make_trainer(training__steps=2, monitor__images=7).resume()

    def test_a_second_ctrl_c_ends_at_once(
        self, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(interruption, "SECOND_THOUGHT", 0.0)

        def twice(_: int) -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            make_trainer(place={"watcher": Acting(twice)}).run()

    def test_a_ctrl_c_that_torchrun_passes_on_is_the_same_one(self, make_trainer: Make) -> None:
        def twice(_: int) -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedTrainingError):
            make_trainer(place={"watcher": Acting(twice)}).run()


class TestNotFinite:
    def test_stops_with_step_and_files_and_keeps_what_was(self, make_trainer: Make) -> None:
        # Two passes of the student a step: global and local views.
        trainer = make_trainer(backbone=Convolution(bad_from=6))
        with pytest.raises(DensebenchError) as caught:
            trainer.run()
        told = str(caught.value)
        assert told.startswith("the loss of step 4 is not finite (nan); the batch held /")
        batch = [trainer._photographs.files[i] for i in trainer.schedule.indices(3)]
        assert all(str(file) in told for file in batch)
        assert "lower optimiser.backbone_lr" in told
        saved = torch.load(trainer.place.checkpoints / "step-00000002.pt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in saved["student"].values())
        assert len(losses(trainer)) == 3

    def test_weights_that_a_step_ruins_are_not_saved(self, make_trainer: Make) -> None:
        trainer = make_trainer(optimiser__backbone_lr=1e37, training__checkpoint_every=1)
        with pytest.raises(DensebenchError, match="weight norm of step 1 is not finite"):
            trainer.run()
        assert not trainer.place.checkpoints.exists()


class TestUnreadable:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_one_in_a_hundred_is_skipped_counted_and_named(
        self,
        make_trainer: Make,
        tmp_path: Path,
        write_photographs: Callable[..., Path],
        workers: int,
        ear: Any,
    ) -> None:
        images = find_photographs([write_photographs(tmp_path / "pictures", 100)])
        images.files[30].write_bytes(b"broken")
        trainer = make_trainer(
            images=images,
            place={"watcher": ear, "workers": workers},
            training__batch_size=50,
            views__global_size=28,
            views__local_crops=0,
        )
        trainer.run()
        lines = read_journal(trainer.place.folder / "log.jsonl")
        bad = [line for line in lines if "unreadable" in line]
        assert [line["unreadable"] for line in bad] == [str(images.files[30])]
        assert trainer.unreadable.keys() == {str(images.files[30])}
        assert len(ear.lines) == 1
        assert ear.lines[0].startswith(f"skipped: {images.files[30]}: not a readable image")
        again = make_trainer(
            images=images,
            training__batch_size=50,
            views__global_size=28,
            views__local_crops=0,
        )
        again.resume()
        assert again.unreadable == trainer.unreadable

    @pytest.mark.parametrize("workers", [0, 1])
    def test_more_stop_it_in_one_line(
        self,
        make_trainer: Make,
        tmp_path: Path,
        write_photographs: Callable[..., Path],
        workers: int,
    ) -> None:
        images = find_photographs([write_photographs(tmp_path / "pictures", 12)])
        for file in images.files[:6]:
            file.write_bytes(b"broken")
        trainer = make_trainer(images=images, place={"workers": workers})
        with pytest.raises(DensebenchError) as caught:
            trainer.run()
        assert "of 12 images cannot be used, more than one in a hundred; first: /" in str(
            caught.value
        )
        assert "\n" not in str(caught.value)
