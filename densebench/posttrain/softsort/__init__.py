"""Differentiable sorting of rows of scores, on any device."""

from densebench.posttrain.softsort.network import Network
from densebench.posttrain.softsort.sort import soft_sort, soft_sort_cross_entropy

__all__ = ["Network", "soft_sort", "soft_sort_cross_entropy"]
