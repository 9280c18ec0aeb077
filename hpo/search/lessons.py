"""What a sampler learns from trials that failed for a reason of their own, which Optuna's samplers would ignore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from hpo.ipc.messages import LOST_RANK, OUT_OF_MEMORY
from hpo.study.states import AttemptEnd

Policy = Literal["worst", "infeasible", "ignore"]
OUTSIDE = "error: outside of the space"  # the cause of an enqueued point that has no parameters

# How causes of failed trials begin that may be due to their parameters, and the constraint that they violate: as
# optuna.trial.Trial.set_constraint writes it; above 0 is not allowed. The others are of workers, disks and people.
_CONSTRAINTS: Mapping[str, str] = {
    AttemptEnd.DIVERGED: "constraints:diverged",
    OUT_OF_MEMORY: "constraints:memory",
    AttemptEnd.STALLED: "constraints:stalled",
    "over time": "constraints:time",
    "error": "constraints:error",
    AttemptEnd.REFUSED: "",  # which constraints it violates, and by how much, is stored with it
}


class Lessons:
    """How a sampler sees them.

    Args:
        diverged: one whose objective became NaN or infinite: `worst`, as bad as the worst of the pruned ones;
            `infeasible`, as a violated constraint; `ignore`, not at all.
        failed: the same of one that raised an error, hung, or had no epoch within its time. One that did not fit into
            memory is always a violated constraint.
        objectives: their number.
    """

    def __init__(self, *, diverged: Policy, failed: Policy, objectives: int) -> None:
        self._policies: Mapping[str, Policy] = {
            AttemptEnd.DIVERGED: diverged,
            OUT_OF_MEMORY: "infeasible",
            AttemptEnd.REFUSED: "infeasible",
        }
        self._failed = failed
        self._objectives = objectives

    def take(self, frozen: FrozenTrial, cause: str | None) -> tuple[TrialState, Sequence[float]]:
        """Change a failed trial to what is to be learned from it.

        Args:
            cause: why it failed.

        Returns:
            Its state and values.
        """
        kind = None if cause in (OUTSIDE, LOST_RANK) else next(filter(str(cause).startswith, _CONSTRAINTS), None)
        policy = "ignore" if kind is None else self._policies.get(kind, self._failed)
        if kind is None or policy == "ignore":
            return TrialState.FAIL, ()
        if policy == "infeasible":
            if key := _CONSTRAINTS[kind]:
                frozen.system_attrs[key] = 1.0
            return TrialState.COMPLETE, [0.0] * self._objectives
        # TPE ranks pruned trials by their last epoch; one without a curve is the worst of them.
        frozen.intermediate_values = {}
        return TrialState.PRUNED, ()


def is_refused(cause: str | None) -> bool:
    """Whether the trial was refused before it trained."""
    return str(cause).startswith(AttemptEnd.REFUSED)
