"""Multinomial logistic regression, run to its one minimum in float64.

The objective is scikit-learn's: the mean cross-entropy of ``softmax(W x + b)`` plus
``|W|^2 / (2 C n)``; the intercept is free. Newton's method finds the minimum, and conjugate
gradients solve its equations, so that no matrix of all parameters is ever formed: beside the rows
there are the classes' shares of each, on a processor or on a GPU.

Source: facebookresearch/capi at 98b4fa1, whose solver stops earlier; Nocedal and Wright, Numerical
Optimization, chapter 7.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

CHUNK_ROWS = 16_384  # in float64
STEPS = 100  # of Newton's method; it takes some ten
HALVINGS = 50
ENOUGH = 1e-4  # Armijo's share of the decrease that the slope promises
DECREMENT = 1e-14  # of the objective: where one more step promises less, it is the last
SOLVES = 1_000  # conjugate gradients of one step
SOLVED = 0.01  # of the equations' residual is left
SAMPLED = 100  # rows for each dimension, from which the equations are preconditioned
LONG = 30  # conjugate gradients, after which they are preconditioned anew

Weights = Float[Tensor, "c e"]  # a row for each class; the intercept is the last column


@dataclass(frozen=True)
class Logistic:
    """The weights of some classes, by their ids."""

    classes: tuple[int, ...]
    weights: Float[Tensor, "c d"]
    intercepts: Float[Tensor, " c"]

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Of some rows, in float64."""
        return features.double() @ self.weights.T + self.intercepts


def fit_logistic(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    strengths: Sequence[float],
    device: torch.device,
) -> list[Logistic]:
    """The minimiser for each ``C`` of ``strengths``, which are a fit's weight against the penalty.

    They are found from the smallest on, each beginning at the one before.

    Args:
        features: float32 or float64, on the processor.
        labels: any ids; those that occur are the classes.
        strengths: above 0.
        device: of the products.
    """
    classes, targets = labels.unique(return_inverse=True)
    problem = _Problem(features, targets, len(classes), device)
    newton, weights = _Newton(problem), problem.start()
    found: dict[float, Logistic] = {}
    for strength in sorted(strengths):
        weights = newton.minimum(weights, 1 / (strength * len(features)))
        told = weights.cpu()
        found[strength] = Logistic(tuple(classes.tolist()), told[:, :-1], told[:, -1])
    return [found[strength] for strength in strengths]


@dataclass(frozen=True)
class _Point:
    """Where the minimum is looked for: the mean cross-entropy, without the penalty."""

    weights: Weights
    value: float
    slope: Weights
    shares: list[Float[Tensor, "m c"]]  # of the classes, for each row of each chunk

    def penalised(self, penalty: float) -> tuple[float, Weights]:
        """Value and slope with the penalty."""
        free = _without_intercepts(self.weights)
        value = self.value + penalty / 2 * float(free.square().sum())
        return value, self.slope + penalty * free


class _Problem:
    """The mean cross-entropy over all rows, and its derivatives."""

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        targets: Int64[Tensor, " n"],
        n_classes: int,
        device: torch.device,
    ) -> None:
        self._features, self._targets = features, targets
        self._n_classes, self._device = n_classes, device

    def start(self) -> Weights:
        """Nothing known."""
        width = self._features.shape[1] + 1
        return torch.zeros(self._n_classes, width, dtype=torch.float64, device=self._device)

    def at(self, weights: Weights) -> _Point:
        """Value, slope and what the curvature needs."""
        value, slope, shares = 0.0, torch.zeros_like(weights), []
        for rows, targets in self._chunks():
            log_shares = (rows @ weights.T).log_softmax(dim=1)
            value -= float(log_shares.gather(1, targets[:, None]).sum())
            share = log_shares.exp_()
            missed = share.clone()
            missed[torch.arange(len(rows), device=self._device), targets] -= 1
            slope += missed.T @ rows
            shares.append(share)
        n = len(self._features)
        return _Point(weights, value / n, slope / n, shares)

    def curve(self, point: _Point, direction: Weights) -> Weights:
        """The second derivative along a direction."""
        found = torch.zeros_like(direction)
        for (rows, _), share in zip(self._chunks(), point.shares, strict=True):
            logits = rows @ direction.T
            tilted = share * (logits - (share * logits).sum(dim=1, keepdim=True))
            found += tilted.T @ rows
        return found / len(self._features)

    def blocks(self, point: _Point) -> Float[Tensor, "c e e"]:
        """The second derivative of each class by its own weights, estimated from some rows."""
        width, n = point.weights.shape[1], 0
        step = max(1, len(self._features) // (SAMPLED * width))
        found = point.weights.new_zeros(self._n_classes, width, width)
        for (rows, _), share in zip(self._chunks(), point.shares, strict=True):
            some, p = rows[::step], share[::step]
            n += len(some)
            for place, curvature in enumerate((p * (1 - p)).T):
                found[place] += (some * curvature[:, None]).T @ some
        return found / n

    def _chunks(self) -> Iterator[tuple[Float[Tensor, "m e"], Int64[Tensor, " m"]]]:
        """Rows with a last column of ones, and their classes."""
        for start in range(0, len(self._features), CHUNK_ROWS):
            rows = self._features[start : start + CHUNK_ROWS].to(self._device, torch.float64)
            targets = self._targets[start : start + CHUNK_ROWS].to(self._device)
            yield torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1), targets


class _Newton:
    """Newton's method with what preconditions its equations, which is kept while it serves."""

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem
        self._factors: Float[Tensor, "c e e"] | None = None

    def minimum(self, weights: Weights, penalty: float) -> Weights:
        """Of the objective with a penalty, from some weights."""
        point = self._problem.at(weights)
        for _ in range(STEPS):
            value, slope = point.penalised(penalty)
            step = self._step(point, slope, penalty)
            promised = -_dot(slope, step)
            if promised <= DECREMENT * value:
                return point.weights + step
            point = self._search(point, step, value - ENOUGH * promised, penalty)
        return point.weights

    def _search(self, point: _Point, step: Weights, enough: float, penalty: float) -> _Point:
        """The step, halved until the objective falls by enough."""
        value = point.penalised(penalty)[0]
        for halving in range(HALVINGS):
            share = 0.5**halving
            there = self._problem.at(point.weights + share * step)
            if there.penalised(penalty)[0] <= value + share * (enough - value):
                return there
        return point

    def _step(self, point: _Point, slope: Weights, penalty: float) -> Weights:
        """By conjugate gradients, until little of the residual is left."""
        if self._factors is None:
            self._factors = _factors(self._problem.blocks(point), penalty)
        step, residual = torch.zeros_like(slope), -slope
        direction = conditioned = self._conditioned(residual)
        first = size = _dot(residual, conditioned)
        n = 0
        while size > SOLVED**2 * first and n < SOLVES:
            curved = self._problem.curve(point, direction)
            curved += penalty * _without_intercepts(direction)
            length = size / _dot(direction, curved)
            step, residual = step + length * direction, residual - length * curved
            conditioned = self._conditioned(residual)
            before, size = size, _dot(residual, conditioned)
            direction = conditioned + size / before * direction
            n += 1
        if n > LONG:
            self._factors = None
        return step

    def _conditioned(self, residual: Weights) -> Weights:
        """Without what all classes share: one shift of all their weights changes nothing."""
        assert self._factors is not None
        solved = torch.cholesky_solve(residual[..., None], self._factors)[..., 0]
        return solved - solved.mean(dim=0)


def _factors(blocks: Float[Tensor, "c e e"], penalty: float) -> Float[Tensor, "c e e"]:
    """Cholesky's factors of the blocks with the penalty, and with what rounding asks for."""
    diagonal = blocks.diagonal(dim1=1, dim2=2)
    diagonal += penalty + 1e-10 * diagonal.mean(dim=1, keepdim=True)
    return torch.linalg.cholesky(blocks)


def _without_intercepts(weights: Weights) -> Weights:
    masked = weights.clone()
    masked[:, -1] = 0
    return masked


def _dot(first: Weights, second: Weights) -> float:
    return float((first * second).sum())
