"""How many trials a pruner that stops them for good usually lets go on, before a study's own trials tell.

The shares follow from what each pruner compares; that they hold for real curves, benchmarks/pruning.py can show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hpo.study.spec import StudySpec

# By rights half of the trials pass the median. But those that come far are the better ones: a quarter of recorded ones
# went on after the first epoch that is judged, most of them to their end.
OF_PERCENTILE = 0.5
OF_LATER_EPOCHS = 0.985
STARTUP_TRIALS = 5  # of Optuna's pruners by the median or a percentile


def startup_trials(spec: StudySpec) -> int:
    """How many of a study's first trials its pruner prunes in no case."""
    if spec.pruner.name not in ("median", "percentile"):
        return 0
    return _whole(spec, "n_startup_trials", STARTUP_TRIALS)


def usual_shares(spec: StudySpec, *, least: int, eta: int) -> Mapping[int, float]:
    """By report, the share of a study's trials that usually go on after it; 1 for those that are left out.

    Args:
        least: the epoch of the first rung, where the study names none.
        eta: of so many trials at a rung, one goes on, likewise.
    """
    name, interval = spec.pruner.name, spec.interval
    most = math.ceil(spec.max_epochs / interval)
    if name in ("median", "percentile"):
        first = math.ceil((_whole(spec, "n_warmup_steps", 0) + 1) / interval)
        passing = _number(spec, "percentile", 50.0) / 100 if name == "percentile" else 0.5
        return {first: OF_PERCENTILE * passing} | dict.fromkeys(range(first + 1, most), OF_LATER_EPOCHS)
    least, eta = _whole(spec, f"min_{spec.unit.plural}", least), _whole(spec, "eta", eta)
    if least < 1 or eta < 2:
        return {}
    rungs = [math.ceil(rung / interval) for power in range(64) if (rung := least * eta**power) < spec.max_epochs]
    if name == "asha" and spec.pruner.options.get("mode") == "stop":
        return dict.fromkeys(rungs, 1 / eta)
    return _of_hyperband(rungs, eta, spec.max_epochs // least) if name == "hyperband" else {}


def _of_hyperband(rungs: list[int], eta: int, ratio: int) -> Mapping[int, float]:
    """The trials of bracket b are judged at the rungs from the b-th on; Optuna gives brackets these sizes."""
    brackets = int(math.log(ratio, eta) + 1e-9) + 1
    left = [float(math.ceil(brackets * eta**power / (power + 1))) for power in reversed(range(brackets))]
    shares = {}
    for place, rung in enumerate(rungs):
        before = sum(left)
        left = [size / eta if bracket <= place else size for bracket, size in enumerate(left)]
        shares[rung] = sum(left) / before
    return shares


def _whole(spec: StudySpec, option: str, default: int) -> int:
    given = spec.pruner.options.get(option, default)
    return given if isinstance(given, int) else default


def _number(spec: StudySpec, option: str, default: float) -> float:
    given = spec.pruner.options.get(option, default)
    return float(given) if isinstance(given, int | float) else default
