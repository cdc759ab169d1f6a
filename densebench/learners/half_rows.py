"""Rows in half precision, with what their rounding took: how far an inner product can be off.

Let q and r be float32 vectors of d values, q' and r' their roundings to float16, and s what a
matrix product makes of q' and r'. Then ``|s - q.r|`` is at most the sum of three parts:

1. Operands. ``q.r - q'.r' = (q - q').r + q'.(r - r')``, so by Cauchy and Schwarz it is at most
   ``|q - q'| |r| + |q'| |r - r'|``. Both losses are measured, not estimated: ``q - q'`` is exact in
   float32 (its bits are those of q that float16 has no place for), and its norm is taken in
   float64. That is about a third of the worst case, 2^-11 of each operand, and holds for subnormal
   numbers as well.
2. Accumulation. The product of two float16 numbers has at most 22 bits and is exact in float32. A
   sum of d of them in any order, in float32, is off by at most ``d u / (1 - d u)`` times the sum of
   their sizes, which is at most ``|q'| |r'|``. For u stands 2^-23 and not the 2^-24 of rounding to
   nearest, since tensor cores cut off; sums in half precision must be off
   (``host.device.whole_sums``).
3. Output. A sum that is given as float16 is rounded once more, by 2^-11 of itself or 2^-25.
   Rounding keeps the order, so that of many outputs only the largest is to be looked at.

Norms are brought near 1 by powers of two, which lose nothing: no value overflows, few are
subnormal, and rows need not be normalised.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Float64
from torch import Tensor
from torch.linalg import vector_norm

UNIT = 2.0**-23  # of float32 sums that cut off
HALF_UNIT = 2.0**-11
SUBNORMAL_UNIT = 2.0**-25
FURTHEST = 120  # powers of two that float32 can be multiplied by
MARGIN = 1 + 2.0**-8  # for the rounding of the bounds themselves
ROWS = 1 << 16  # that are rounded at once


@dataclass(frozen=True)
class HalfRows:
    """Rows times powers of two, in float16.

    Attributes:
        values: the rows.
        scale: the power of two of each row, or of all.
        norms: of the float32 rows times these.
        lost: the norm of what rounding took from each of these.
    """

    values: Float16[Tensor, "n d"]
    scale: Float64[Tensor, "*n"]
    norms: Float64[Tensor, " n"]
    lost: Float64[Tensor, " n"]

    @classmethod
    def of_queries(cls, rows: Float[Tensor, "n d"]) -> "HalfRows":
        """Each row by a power of its own."""
        scale = near_one(vector_norm(rows, dim=1, dtype=torch.float64))
        return cls._rounded(rows.float() * scale[:, None].float(), scale)

    @classmethod
    def of_bank(cls, bank: Float[Tensor, "n d"], device: torch.device) -> "HalfRows":
        """All rows by one power, some at a time; a bank in float16 is taken as it is."""
        parts = (part.to(device) for part in bank.split(ROWS))
        norms = torch.cat([vector_norm(part, dim=1, dtype=torch.float64) for part in parts])
        scale = near_one(norms.max())
        if bank.dtype == torch.float16 and scale == 1:
            return cls(bank.to(device), scale, norms, torch.zeros_like(norms))
        values = torch.empty(bank.shape, dtype=torch.float16, device=device)
        lost, start = torch.empty_like(norms), 0
        for part in bank.split(ROWS):
            rounded = cls._rounded(part.to(device, torch.float32) * scale.float(), scale)
            rows = slice(start, start + len(part))
            values[rows], lost[rows] = rounded.values, rounded.lost
            start += len(part)
        return cls(values, scale, norms * scale, lost)

    @classmethod
    def _rounded(cls, scaled: Float[Tensor, "n d"], scale: Float64[Tensor, "*n"]) -> "HalfRows":
        values = scaled.half()
        lost = vector_norm(scaled - values.float(), dim=1, dtype=torch.float64)
        return cls(values, scale, vector_norm(scaled, dim=1, dtype=torch.float64), lost)


@dataclass(frozen=True)
class Bound:
    """How far products of some queries with any row of a bank can be off.

    Attributes:
        half: of those of half precision before their output is rounded: parts 1 and 2.
        whole: of those of float32 rows, whose products are rounded as well as their sums.
        tie: what two products that are the same number in float32 can differ by.
    """

    half: Float64[Tensor, " q"]
    whole: Float64[Tensor, " q"]
    tie: Float64[Tensor, " q"]

    @classmethod
    def of(cls, queries: HalfRows, bank: HalfRows) -> "Bound":
        """The bound for the longest row of the bank, and for the one that lost most."""
        width, longest, lost = queries.values.shape[1], bank.norms.max(), bank.lost.max()
        rounded = queries.norms + queries.lost
        sums = _accumulated(width) * rounded * (longest + lost)
        operands = queries.lost * longest + rounded * lost
        sizes = queries.norms * longest
        return cls(
            MARGIN * (operands + sums), MARGIN * _accumulated(width + 1) * sizes, 2 * UNIT * sizes
        )

    def highest(self, product: Float[Tensor, " q"]) -> Float64[Tensor, " q"]:
        """What an exact product can be at most, where half precision gave this or less."""
        largest = product.double()
        if product.dtype == torch.float16:
            largest = largest + MARGIN * (HALF_UNIT * largest.abs() + SUBNORMAL_UNIT)
        return largest + self.half + self.tie


def near_one(norms: Float64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
    """The powers of two that bring some norms nearest to 1; 1 for those that are 0."""
    power = norms.log2().round().clamp(-FURTHEST, FURTHEST)
    return torch.where(norms > 0, torch.exp2(-power), 1.0)


def _accumulated(terms: int) -> float:
    return terms * UNIT / (1 - terms * UNIT)
