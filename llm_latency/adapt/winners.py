"""Winners: which strategy a contest has shown to be best at each point; not how they were run, nor where they cross."""

from __future__ import annotations

import math
from collections.abc import Mapping

from llm_latency.adapt.contest import Contest, Point
from llm_latency.adapt.strategy import BASELINE


def winners(contest: Contest, *, setup_s: Mapping[str, float]) -> dict[Point, str]:
    """The model's own way, or what is shown to be better than it; `setup_s` is each strategy's set-up for one call.

    The one that is best over all points comes first, and another only where it is shown to be better than that one:
    of two that can hardly be told apart a policy takes the same everywhere.
    """
    favourite = _favourite(contest, setup_s)
    found = {}
    for point, names in contest.left.items():
        best = BASELINE
        for name in sorted(names, key=lambda one: (one != favourite, contest.ratio(one, point)[0])):
            if name != best and _beats(contest, name, best, point, setup_s):
                best = name
        found[point] = best
    return found


def _favourite(contest: Contest, setup_s: Mapping[str, float]) -> str:
    """The least mean ratio to the model's own way, of those that ran often enough at every point."""
    means = {BASELINE: 1.0}
    for name in set.intersection(*map(set, contest.left.values())) - {BASELINE}:
        ratios = [contest.ratio(name, point) for point in contest.left]
        if all(high is not None for _, _, high in ratios):
            shares = [_share(contest, name, BASELINE, point, setup_s) for point in contest.left]
            means[name] = math.fsum(ratio for ratio, _, _ in ratios) / len(ratios) + math.fsum(shares) / len(shares)
    return min(means, key=means.__getitem__)


def _beats(contest: Contest, name: str, other: str, point: Point, setup_s: Mapping[str, float]) -> bool:
    """Whether the whole interval of their ratio lies below 1, set-up included."""
    _, _, high = contest.ratio(name, point, to=other)
    return high is not None and high + _share(contest, name, other, point, setup_s) < 1


def _share(contest: Contest, name: str, other: str, point: Point, setup_s: Mapping[str, float]) -> float:
    scores = contest.scores(other, point)
    more = setup_s.get(name, 0.0) - setup_s.get(other, 0.0)
    return more / (math.fsum(scores) / len(scores)) if scores else math.inf
