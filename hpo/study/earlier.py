"""What the studies that a study starts from know: their trials that fit its space, ranked. The store keeps it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hpo.space.values import Scalar

BEST = 3  # points that are tried first


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of an earlier study.

    Attributes:
        study: the place of its study in `start_from`.
        params: of this study's space, as the store has them.
        rank: among the trials of its study that fit: above 0, which is the best, and below 1.
        is_complete: it was not cut off, so that its value is known, and not expected.
    """

    study: int
    params: Mapping[str, Scalar]
    rank: float
    is_complete: bool


@dataclass(frozen=True)
class Earlier:
    """
    Attributes:
        trials: of each study, the best first.
        words: what was taken over of each study, and what was not and why.
    """

    trials: tuple[EarlierTrial, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.words)

    def some(self, count: int) -> list[EarlierTrial]:
        """At most so many of all studies, the best first: the better half of them, the others spread over the rest."""
        ranked = sorted(self.trials, key=lambda trial: trial.rank)
        if len(ranked) <= count:
            return ranked
        half = count // 2
        rest = len(ranked) - half
        return [*ranked[:half], *(ranked[half + rest * place // (count - half)] for place in range(count - half))]

    def best_points(self) -> list[Mapping[str, Scalar]]:
        """The best points of all studies, each different one once; of cut-off trials only where there are no others."""
        ordered = sorted(self.trials, key=lambda trial: not trial.is_complete)
        places: Counter[int] = Counter()
        placed = []
        for trial in ordered:
            placed.append((places[trial.study], trial.study, trial.params))
            places[trial.study] += 1
        points = [params for _, _, params in sorted(placed, key=lambda one: one[:2])]
        return list({json.dumps(params, sort_keys=True): params for params in points}.values())[:BEST]

    def to_json(self) -> dict[str, Any]:
        return {"trials": [asdict(trial) for trial in self.trials], "words": list(self.words)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        return cls(tuple(EarlierTrial(**trial) for trial in plain["trials"]), tuple(plain["words"]))
