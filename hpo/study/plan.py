"""What a study trains that samples nothing: the best trials of a search again, with fresh seeds.

Its trials are entered when it is created, seed by seed: with k candidates, trial n trains candidate n % k with its seed
number n // k. So every worker, and whoever reads the study, knows which trial is which.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

TRAIN, TRAIN_AND_VALIDATION = "train", "train+validation"  # the parts that a trial is trained on


@dataclass(frozen=True)
class Candidate:
    """A trial of the search.

    Attributes:
        trial: its number there.
        value: the objective there.
        params: the searched parameters.
        stop_after: the epoch or step whose weights are kept, where there is nothing to choose one by.
    """

    trial: int
    value: float
    params: Mapping[str, Any]
    stop_after: int | None = None


@dataclass(frozen=True)
class Plan:
    """The trials of a study that trains others again.

    Attributes:
        kind: `rerun` is as in the search, `retrain` on its training and validation parts together.
        candidates: one that stands there twice is trained twice as often.
        seeds: of each candidate.
    """

    kind: Literal["rerun", "retrain"]
    candidates: tuple[Candidate, ...]
    seeds: int

    @property
    def trials(self) -> int:
        return len(self.candidates) * self.seeds

    def config(self, number: int) -> dict[str, Any]:
        """What the configuration of a trial of this number has besides that of a search's."""
        if self.kind == "rerun":
            return {}
        return {"trained_on": TRAIN_AND_VALIDATION, "stop_after": self.candidate(number).stop_after}

    def candidate(self, number: int) -> Candidate:
        """That a trial of this number trains."""
        return self.candidates[number % len(self.candidates)]

    def by_candidate(self, values: Mapping[int, float | None]) -> list[list[float | None]]:
        """The trials' values by candidate, in the order of their seeds, until the first that has not ended.

        Args:
            values: by the number of a trial that has ended; None where it failed.
        """
        count = len(self.candidates)
        found: list[list[float | None]] = [[] for _ in self.candidates]
        for number in range(self.trials):
            if number in values and len(found[number % count]) == number // count:
                found[number % count].append(values[number])
        return found

    def is_of_the_same(self, other: Plan) -> bool:
        """Whether it trains the same candidates in the same way, with any number of seeds."""
        return (self.kind, self.candidates) == (other.kind, other.candidates)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Plan:
        plain = json.loads(text)
        of_all = {"stop_after": plain.pop("stop_after", None)}  # in earlier releases
        candidates = tuple(Candidate(**{**of_all, **found}) for found in plain.pop("candidates"))
        return Plan(**plain, candidates=candidates)


def shares(weights: Mapping[int, float], total: int) -> dict[int, int]:
    """So many trainings, divided by weight (largest remainders); without those that get none, the most first."""
    quotas = {one: total * weight / sum(weights.values()) for one, weight in weights.items()}
    found = {one: math.floor(quota) for one, quota in quotas.items()}
    by_rest = sorted(quotas, key=lambda one: (found[one] - quotas[one], one))
    for one in by_rest[: total - sum(found.values())]:
        found[one] += 1
    return {one: count for one, count in sorted(found.items(), key=lambda item: -item[1]) if count}
