"""What trains: the head, views of one size in one pass, frozen blocks, drop path."""

import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers.drop import DropPath
from torch import nn

from densebench.backbones.base import DenseBackbone
from densebench.host.errors import DensebenchError
from densebench.posttrain.student import (
    ProjectionHead,
    Projector,
    checkpoint_gradients,
    freeze_all_but_last,
    set_drop_path,
    trainable,
)

Make = Callable[..., DenseBackbone]


class Convolution(DenseBackbone):
    """A convolution with batch normalisation, which has no list of blocks."""

    def __init__(self) -> None:
        super().__init__("convolution", 14, 6)
        self.patches = nn.Conv2d(3, 6, 14, 14)
        self.norm = nn.BatchNorm2d(6)

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.patches(images)).permute(0, 2, 3, 1)


class TestHead:
    def test_is_as_published(self) -> None:
        torch.manual_seed(0)
        head = ProjectionHead(384)
        shapes = [tuple(m.weight.shape) for m in head.layers if isinstance(m, nn.Linear)]
        assert shapes == [(2048, 384), (2048, 2048), (256, 2048)]
        assert [type(m).__name__ for m in head.layers] == ["Linear", "GELU"] * 2 + ["Linear"]
        for module in head.layers:
            if isinstance(module, nn.Linear):
                assert not module.bias.any()
                assert abs(float(module.weight.detach().std()) - 0.02) < 2e-4
                assert float(module.weight.detach().abs().max()) <= 2

    def test_gives_unit_vectors_per_patch(self) -> None:
        head = ProjectionHead(6, layers=1, hidden=9, out=5)
        assert [tuple(p.shape) for p in head.parameters()] == [(5, 6), (5,)]
        out = head(torch.randn(2, 3, 4, 6))
        assert out.shape == (2, 3, 4, 5)
        torch.testing.assert_close(out.norm(dim=-1), torch.ones(2, 3, 4))

    def test_without_layers_it_only_normalises(self) -> None:
        head = ProjectionHead(6, layers=0)
        assert (head.dim, [*head.parameters()]) == (6, [])
        patches = torch.randn(2, 3, 4, 6)
        torch.testing.assert_close(head(patches), patches / patches.norm(dim=-1, keepdim=True))


class TestViews:
    def test_one_pass_per_size_equals_view_by_view(self, make_backbone: Make) -> None:
        student = Projector(make_backbone(), ProjectionHead(24, 2, 16, 8)).eval()
        sizes = (56, 28, 56, 28, 28)
        images = [torch.randn(2, 3, size, size) for size in sizes]
        passes = []
        student.backbone.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape))
        together = student.views(images)
        assert [tuple(shape) for shape in passes] == [(4, 3, 56, 56), (6, 3, 28, 28)]
        for grid, image in zip(together, images, strict=True):
            torch.testing.assert_close(grid, student(image), atol=1e-6, rtol=1e-5)

    def test_batch_normalisation_keeps_its_statistics(self) -> None:
        student = Projector(Convolution(), ProjectionHead(6, 1, 1, 4)).train()
        before = copy.deepcopy(student.backbone.state_dict())
        student(torch.randn(3, 3, 28, 28) * 5).sum().backward()
        after = student.backbone.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert student.training
        assert student.backbone.norm.weight.grad is not None


class TestFreezing:
    def test_all_trains_when_no_number_is_given(self, make_backbone: Make) -> None:
        backbone = make_backbone().requires_grad_(False)
        freeze_all_but_last(backbone, 0)
        assert all(parameter.requires_grad for parameter in backbone.parameters())

    def test_the_last_blocks_and_the_norm_after_them(self, make_backbone: Make) -> None:
        backbone = make_backbone(depth=3)
        freeze_all_but_last(backbone, 2)
        parts = {".".join(name.split(".")[1:3]) for name, _ in trainable(backbone)}
        assert parts == {"blocks.1", "blocks.2", "norm.weight", "norm.bias"}

    def test_what_cannot_be_frozen(self, make_backbone: Make) -> None:
        with pytest.raises(DensebenchError, match="trainable_blocks is 3, but it has 2 blocks"):
            freeze_all_but_last(make_backbone(), 3)
        with pytest.raises(DensebenchError, match="it has no list of blocks"):
            freeze_all_but_last(Convolution(), 1)


class TestDropPath:
    @pytest.mark.parametrize(("depth", "rates"), [(1, [0]), (3, [0, 0.1, 0.2])])
    def test_grows_linearly_over_the_blocks(
        self, make_backbone: Make, depth: int, rates: list[float]
    ) -> None:
        backbone = make_backbone(depth=depth)
        assert set_drop_path(backbone, 0.2)
        for block, rate in zip(backbone.blocks(), rates, strict=True):
            for layer in (block.drop_path1, block.drop_path2):
                assert isinstance(layer, DropPath if rate else nn.Identity)
                assert getattr(layer, "drop_prob", 0) == pytest.approx(rate)

    def test_0_takes_away_what_there_was(self, make_backbone: Make) -> None:
        backbone = make_backbone(drop_path_rate=0.5)
        assert any(isinstance(module, DropPath) for module in backbone.modules())
        set_drop_path(backbone, 0.0)
        assert not any(isinstance(module, DropPath) for module in backbone.modules())

    def test_no_place(self) -> None:
        assert not set_drop_path(Convolution(), 0.2)


class TestGradientCheckpointing:
    @pytest.mark.parametrize("drop_path", [0.0, 0.5])
    def test_gives_equal_gradients(self, make_backbone: Make, drop_path: float) -> None:
        images, gradients = torch.randn(4, 3, 28, 28), []
        for checkpointed in (False, True):
            student = Projector(make_backbone(), ProjectionHead(24, 1, 1, 8))
            student.head.load_state_dict(
                {"layers.0.weight": torch.ones(8, 24).tril(), "layers.0.bias": torch.ones(8)}
            )
            set_drop_path(student.backbone, drop_path)
            if checkpointed:
                checkpoint_gradients(student.backbone)
            torch.manual_seed(7)
            student.train()(images)[..., 0].sum().backward()
            gradients.append([p.grad for p in student.parameters()])
            assert all(grad is not None for grad in gradients[-1])
        for kept, recomputed in zip(*gradients, strict=True):
            torch.testing.assert_close(recomputed, kept)

    def test_needs_blocks(self) -> None:
        with pytest.raises(DensebenchError, match="needs a list of blocks"):
            checkpoint_gradients(Convolution())
