"""What a study optimises: one metric, or several whose best trials are those that no other one beats in all of them.

The first objective leads. The epoch of a trial that counts, whose weights are kept, is the best one by it, and all
values of the trial are those of that epoch; early stopping watches it, and it orders the trials of a front.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpo.study.states import Direction

Costs = tuple[float, ...]  # of one trial, an objective each; lower is better

PARAMETERS, SECONDS_PER_EPOCH, PEAK_MEMORY, INFERENCE_MS = (
    *("parameters", "seconds_per_epoch", "peak_memory", "inference_ms"),
)
# Objectives that a trial's process measures, whatever the model logs; `hpo.training.measured_metrics` says how.
MEASURED = (PARAMETERS, SECONDS_PER_EPOCH, PEAK_MEMORY, INFERENCE_MS)


@dataclass(frozen=True)
class Objectives:
    """The objectives of a study, the leading one first.

    Attributes:
        metrics: their names; a study of another program may have none.
        reference: the values that are just bad enough to count for nothing, from which a hypervolume is measured; none
            where no hypervolume is asked for.
    """

    directions: tuple[Direction, ...]
    metrics: tuple[str, ...] = ()
    reference: tuple[float, ...] | None = None

    @property
    def first(self) -> Direction:
        """The direction of the leading objective."""
        return self.directions[0]

    @property
    def are_several(self) -> bool:
        return len(self.directions) > 1

    @property
    def further(self) -> tuple[str, ...]:
        """The metrics besides the leading one."""
        return self.metrics[1:]

    def costs(self, values: Sequence[float]) -> Costs:
        """Of a trial's values: lower is better."""
        return tuple(direction.cost(value) for direction, value in zip(self.directions, values, strict=True))

    def hypervolume(self, points: Sequence[Sequence[float]]) -> float | None:
        """What these values dominate up to the reference, in the product of their units; None without a reference."""
        if self.reference is None:
            return None
        return hypervolume([self.costs(values) for values in points], self.costs(self.reference))

    def __str__(self) -> str:
        """`maximize val_accuracy, minimize parameters`."""
        names = self.metrics or ("",) * len(self.directions)
        return ", ".join(f"{direction} {name}".strip() for direction, name in zip(self.directions, names, strict=True))


def dominates(one: Costs, other: Costs) -> bool:
    """Whether one is as good in all objectives and better in one of them."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def ranks(points: Sequence[Costs]) -> list[int]:
    """The non-domination rank of each point: 0 on the front, 1 on the front of the others, and so on.

    Efficient non-dominated sorting with binary search, Zhang et al. 2015, IEEE Transactions on Evolutionary
    Computation 19 (2): in lexicographic order, a point can be dominated by earlier ones only.
    """
    fronts: list[list[Costs]] = []
    found: dict[Costs, int] = {}

    def is_free(front: list[Costs], point: Costs) -> bool:
        # of two objectives, the last one of a front has its least second cost
        rivals = front[-1:] if len(point) == 2 else reversed(front)
        return not any(dominates(rival, point) for rival in rivals)

    for point in sorted(set(points)):
        place = bisect_left(fronts, True, key=lambda front: is_free(front, point))
        if place == len(fronts):
            fronts.append([])
        fronts[place].append(point)
        found[point] = place
    return [found[point] for point in points]


def front_of(points: Mapping[int, Costs]) -> list[int]:
    """The keys of the points that no other one dominates, by the leading objective, then by key."""
    found = zip(points, ranks(list(points.values())), strict=True)
    return sorted((key for key, rank in found if rank == 0), key=lambda key: (points[key], key))


def ranked(points: Mapping[int, Costs]) -> list[int]:
    """All keys, the best first: by non-domination rank; within a front those first that are far from the ones before.

    Within a front: Schmucker et al. 2021, arXiv 2106.12639 (an epsilon net): after the best one by the leading
    objective, always the one whose nearest predecessor is farthest, where distances count places in each objective,
    since parameters and accuracies have no common scale. One objective is ordered by itself, then by key.
    """
    if all(len(costs) == 1 for costs in points.values()):
        return sorted(points, key=lambda key: (points[key], key))
    fronts: dict[int, list[int]] = defaultdict(list)
    for key, rank in zip(points, ranks(list(points.values())), strict=True):
        fronts[rank].append(key)
    places = _places(points)
    return [key for rank in sorted(fronts) for key in _spread(sorted(fronts[rank]), points, places)]


def _places(points: Mapping[int, Costs]) -> dict[int, tuple[float, ...]]:
    """Each point with its place in each objective, from 0 to 1."""
    by_objective = []
    for column in zip(*points.values(), strict=True):
        known = sorted(set(column))
        place = {cost: number / max(1, len(known) - 1) for number, cost in enumerate(known)}
        by_objective.append([place[cost] for cost in column])
    return dict(zip(points, zip(*by_objective, strict=True), strict=True))


def _spread(
    front: Sequence[int], points: Mapping[int, Costs], places: Mapping[int, tuple[float, ...]]
) -> Iterator[int]:
    """The keys of a front, each as far as possible from those before."""
    near = dict.fromkeys(front, math.inf)
    chosen = min(front, key=lambda key: (points[key], key))
    while True:
        yield chosen
        del near[chosen]
        if not near:
            return
        near = {key: min(distance, math.dist(places[key], places[chosen])) for key, distance in near.items()}
        chosen = max(near, key=lambda key: (near[key], -key))


def hypervolume(points: Sequence[Costs], reference: Costs) -> float:
    """The volume that these costs dominate, as far as the reference: larger is better.

    By slices along the first objective, While et al. 2006, IEEE Transactions on Evolutionary Computation 10 (1).
    """
    inside = sorted({point for point in points if all(a < b for a, b in zip(point, reference, strict=True))})
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    volume = 0.0
    below: list[Costs] = []
    for point, following in zip(inside, [*inside[1:], reference], strict=True):
        rest = point[1:]
        if not any(all(a <= b for a, b in zip(other, rest, strict=True)) for other in below):
            below = [other for other in below if not dominates(rest, other)] + [rest]
        if following[0] > point[0]:
            volume += (following[0] - point[0]) * hypervolume(below, reference[1:])
    return volume
