"""Which of the searched parameters matter: PED-ANOVA, with its spread over resamples of the trials.

The importance of a parameter is how much the best trials' values of it differ from all trials' values, as a share of
the sum over all parameters: Watanabe, Bansal and Hutter 2023, "PED-ANOVA", arxiv.org/abs/2304.10255, by Optuna.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaTrialState

from hpo.printable import counted
from hpo.queue.progress import find_study
from hpo.search.trial_rows import changed, frozen
from hpo.store import Store
from hpo.study.states import Direction, OptunaState

optuna.logging.set_verbosity(optuna.logging.WARNING)

BEST_SHARE = 0.1  # of the trials, which are compared with all
LEAST_BEST = 5  # trials, below which Optuna's documentation calls the analysis unstable
LEAST_TRIALS = 20  # complete ones: of fewer, the best are no small part
RESAMPLES = 30
MOST_RESAMPLED = 1000  # trials of a resample: of more, the spread is rather too wide
MOST_TRIALS = 10_000  # the last ones


@dataclass(frozen=True)
class Importance:
    """Of one parameter.

    Attributes:
        value: its share of all, from 0 to 1.
        low, high: between which the share lies in 95 % of the resamples.
        matters: `yes` where the whole spread is above an equal share, `little` where it is below, and otherwise
            `cannot tell`.
    """

    name: str
    value: float
    low: float
    high: float
    matters: Literal["yes", "little", "cannot tell"]


@dataclass(frozen=True)
class Importances:
    """Of all searched parameters, the most important first.

    Attributes:
        trials: the complete trials that they are computed from.
        best: how many of these count as the best.
        parameters: none where there are too few trials.
        remark: 'too few trials to tell', with the reason; None where some parameters are told apart.
    """

    study: str
    trials: int
    best: int
    parameters: tuple[Importance, ...]
    remark: str | None

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: a row a parameter."""
        from hpo.notebook import block, line, table

        rows = [
            (one.name, f"{one.value:.0%}", f"{one.low:.0%} to {one.high:.0%}", one.matters) for one in self.parameters
        ]
        parts = [table(("parameter", "importance", "95 % of resamples", "matters"), rows)] if rows else []
        title = f"{self.study}: by the best {self.best:,} of {counted(self.trials, 'complete trial')}"
        return block(line(title, is_title=True), *parts, *([line(self.remark)] if self.remark else []))

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self) | {"parameters": [asdict(one) for one in self.parameters]}


def importances_of(store: Store, name: str) -> Importances:
    """The importances of a study's parameters; trials from before an accepted change of data or code do not count.

    Raises:
        StoreError: there is no such study.
    """
    study_id, objectives = find_study(store, name)
    with store.read() as connection:
        rows = [
            row
            for row in changed(connection, study_id, known=0)
            if row.state == OptunaState.COMPLETE and row.before_change is None
        ]
        trials = [trial for _, trial in frozen(connection, rows[-MOST_TRIALS:], with_params=True)]
    return importances(name, trials, objectives.first)


def importances(study: str, trials: Sequence[FrozenTrial], direction: Direction, *, seed: int = 0) -> Importances:
    """The importances by these complete trials; those of infinite values do not count.

    Args:
        seed: of the resamples.
    """
    found = [_of_first_objective(trial) for trial in trials if trial.values and np.isfinite(trial.values[0])]
    searched = {name for trial in found for name, its in trial.distributions.items() if not its.single()}
    number = len(found)
    best = min(number, max(LEAST_BEST, round(BEST_SHARE * number)))
    if len(searched) < 2:
        remark = "one parameter is searched: there is nothing to compare" if searched else "no trial is complete"
        return Importances(study, number, best, (), remark)
    if number < LEAST_TRIALS:
        text = f"too few trials to tell: {counted(number, 'complete trial')}, and {LEAST_TRIALS} are needed at least"
        return Importances(study, number, best, (), text)
    chance, memory = np.random.default_rng(seed), _Drawn(direction)
    whole = memory.shares(found, searched, best / number)
    size = min(number, MOST_RESAMPLED)
    drawn = [
        memory.shares([found[place] for place in chance.integers(number, size=size)], searched, best / number)
        for _ in range(RESAMPLES)
    ]
    equal = 1 / len(searched)
    parameters = []
    for name in sorted(searched, key=lambda name: (-whole[name], name)):
        low, high = np.percentile([shares[name] for shares in drawn], [2.5, 97.5])
        low, high = min(float(low), whole[name]), max(float(high), whole[name])
        matters: Any = "yes" if low > equal else "little" if high < equal else "cannot tell"
        parameters.append(Importance(name, whole[name], low, high, matters))
    is_told = any(one.matters == "yes" for one in parameters)
    text = (
        f"too few trials to tell: {counted(number, 'complete trial')}, and no parameter's spread lies above {equal:.0%}"
    )
    text += ", an equal share"
    return Importances(study, number, best, tuple(parameters), None if is_told else text)


class _Drawn(InMemoryStorage):
    """Holds the trials of one resample, of which copies of the same trial are a part."""

    def __init__(self, direction: Direction) -> None:
        super().__init__()
        self._drawn: Sequence[FrozenTrial] = ()
        self._study = optuna.create_study(storage=self, direction=direction.value)

    def shares(self, trials: Sequence[FrozenTrial], names: Collection[str], quantile: float) -> dict[str, float]:
        """The share of each of these parameters in the importance of all."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # which import scikit-learn

        self._drawn = trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(quantile, 0.99))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few trials and of rare values, which the spread shows
            found = get_param_importances(self._study, evaluator=evaluator, normalize=False)
        known = {name: max(0.0, found.get(name, 0.0)) for name in names}
        total = sum(known.values())
        return {name: value / total if total > 0 else 1 / len(known) for name, value in known.items()}

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """The trials that were drawn, in place of those that were added."""
        return list(self._drawn)


def _of_first_objective(trial: FrozenTrial) -> FrozenTrial:
    assert trial.state == OptunaTrialState.COMPLETE
    if len(trial.values) > 1:
        trial.values = trial.values[:1]
    return trial
