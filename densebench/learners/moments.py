"""Mean, deviation and covariance of more rows than fit into memory, in one pass."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class Moments:
    """Sums of rows and of their products in float64, on a device.

    They are taken about the mean of the first rows: far from zero, the covariance would otherwise
    be a small difference of large numbers.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self._device, self._centre = device, torch.empty(0)
        self._sum = torch.zeros(width, dtype=torch.float64, device=device)
        self._products = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.count = 0

    def add(self, rows: Float[Tensor, "n d"]) -> None:
        """Take in some rows."""
        exact = rows.to(self._device, torch.float64)
        if not self.count:
            self._centre = exact.mean(dim=0)
        exact = exact - self._centre
        self._sum += exact.sum(dim=0)
        self._products += exact.T @ exact
        self.count += len(rows)

    @property
    def mean(self) -> Float64[Tensor, " d"]:
        """Of each dimension."""
        return (self._centre + self._sum / self.count).cpu()

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Of the rows as they are, divided by their number."""
        off_centre = self._sum / self.count
        return (self._products / self.count - torch.outer(off_centre, off_centre)).cpu()
