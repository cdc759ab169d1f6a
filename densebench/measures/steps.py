"""What a change of the rules is worth: one backbone's numbers by two of them, on the same images.

Source: as ``comparison``'s of two backbones, by leaving out one image (or group) at a time. The two
need neither one metric nor one kind of evidence: what pairs them are the images.
"""

import numpy as np
from jaxtyping import Float

from densebench.measures.base import Evidence, Metric
from densebench.measures.comparison import Comparison
from densebench.measures.jackknife import LEVEL, average, interval, leave_one_out, p_value

Scored = tuple[Evidence, Metric]


def compare_rules(first: Scored, second: Scored) -> Comparison:
    """The first number less the second, with its interval.

    An image that one of the two left out changes nothing there. Where all images are of one group,
    which alone would have no interval, it is over that group's images.

    Raises:
        ValueError: one is of images, the other of groups of them.
    """
    first, second = _paired(first), _paired(second)
    overs = {evidence.over for evidence, _ in (first, second)}
    if len(overs) != 1:
        raise ValueError(f"runs over {' and '.join(sorted(overs))}")
    names = sorted({name for evidence, _ in (first, second) for name in unit_names(evidence)})
    values = [average([evidence.units], metric) for evidence, metric in (first, second)]
    left_out = _left_out(*first, names, values[0]) - _left_out(*second, names, values[1])
    difference, size = values[0] - values[1], max(map(abs, values))
    reach = max(metric.bounds[1] - metric.bounds[0] for _, metric in (first, second))
    low, high = interval(difference, left_out, (-reach, reach), size)
    p = p_value(difference, left_out, size)
    return Comparison(difference, low, high, p, LEVEL, overs.pop(), len(names))


def _paired(scored: Scored) -> Scored:
    """Of a single group, its images are compared: of other groups they say nothing."""
    evidence, metric = scored
    if evidence.groups is None or len(unit_names(evidence)) > 1:
        return scored
    return Evidence(evidence.names, evidence.vectors), metric


def unit_names(evidence: Evidence) -> list[str]:
    """Of its independent draws, in their order: images, or the groups that they belong to."""
    if evidence.groups is None:
        return list(evidence.names)
    return np.unique(np.array(evidence.groups)).tolist()


def _left_out(
    evidence: Evidence, metric: Metric, names: list[str], value: float
) -> Float[np.ndarray, " n"]:
    """The number without each of the named images or groups."""
    without = leave_one_out([evidence.units], metric)
    known = dict(zip(unit_names(evidence), without, strict=True))
    return np.array([known.get(name, value) for name in names])
