"""What several processes project, in the order of one."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from densebench.datasets.transforms import Squash
from densebench.host.distributed import World
from densebench.learners.projection import Projected, Projection

ONE = (1.0, 1.0, 1.0)
LISTED = (4, 2, 0, 1, 3)


@pytest.mark.parametrize(("drop", "wanted"), [(None, [0, 1, 2, 4]), (2, [4, 2, 0, 1])])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_by_index(n: int, drop: int | None, wanted: list[int], in_threads: Callable) -> None:
    def work(world: World) -> tuple:
        source = SimpleNamespace(world=world, split=_Five(LISTED))
        own = torch.tensor(wanted[world.rank :: world.size], dtype=torch.int64)
        patches = own[:, None, None].expand(-1, 4, 3).float()
        projection = Projection(source, Squash(14, ONE, ONE), drop)
        return own, *projection.everywhere(Projected(own, patches, torch.empty(0)), (4, 3))

    for own, every, places in in_threads(n, work):
        assert every.shape == (4, 4, 3)
        assert every[:, 0, 0].tolist() == wanted
        assert every[places, 3, 2].tolist() == own.tolist()


class _Five(list):
    """A split of five images in the order of their list."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__(range(5))
        self.order = order
