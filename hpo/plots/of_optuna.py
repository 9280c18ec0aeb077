"""Optuna's plots of complete trials, which it reads from a study in memory; names and choices are escaped there."""

from __future__ import annotations

import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import SpecError, nearest
from hpo.plots.drawing import MARGINS, as_text, empty, of_all, some
from hpo.queue.progress import find_study
from hpo.results.frames import OBJECTIVE
from hpo.results.study import Study
from hpo.search.trial_rows import changed, frozen
from hpo.store import Store
from hpo.study.states import Direction, OptunaState

if TYPE_CHECKING:
    import plotly.graph_objects as go

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class CompleteTrials:
    """Some of a study's complete trials, as Optuna's plots read them.

    Attributes:
        objectives: the names and directions of the values that they have.
        number: of all complete trials.
    """

    study: str
    trials: Sequence[FrozenTrial]
    objectives: Sequence[tuple[str, Direction]]
    number: int

    @staticmethod
    def read(store: Store, study: Study, *, most: int, place: int | None = None) -> CompleteTrials:
        """Read them; those from before an accepted change of data or code are left out.

        Args:
            most: of them.
            place: of the one objective whose values they have; by default all.
        """
        study_id, objectives = find_study(store, study.name)
        names = objectives.metrics or (OBJECTIVE,) * len(objectives.directions)
        pairs = list(zip(map(as_text, names), objectives.directions, strict=True))
        with store.read() as connection:
            rows = [
                row
                for row in changed(connection, study_id, known=0)
                if row.state == OptunaState.COMPLETE and row.before_change is None
            ]
            found = [trial for _, trial in frozen(connection, rows, with_params=True) if trial.values]
        if place is not None:
            pairs = [pairs[place]]
            for trial in found:
                trial.values = [trial.values[place]]
        direction = pairs[0][1]
        shown = some(found, most, cost=lambda trial: direction.cost(trial.values[0]))
        return CompleteTrials(study.name, [_escaped(trial) for trial in shown], pairs, len(found))

    @property
    def varied(self) -> list[str]:
        """The parameters with more than one possible value, by name."""
        return sorted({name for one in self.trials for name, its in one.distributions.items() if not its.single()})

    def parallel(self, params: Sequence[str] | None) -> go.Figure:
        """Parallel coordinates."""
        from optuna.visualization import plot_parallel_coordinate

        return self._drawn("parallel coordinates", params, plot_parallel_coordinate)

    def slice(self, params: Sequence[str] | None) -> go.Figure:
        """One plot for each parameter."""
        from optuna.visualization import plot_slice

        return self._drawn("slices", params, plot_slice)

    def contour(self, params: Sequence[str]) -> go.Figure:
        """One plot for each pair of these parameters."""
        from optuna.visualization import plot_contour

        title = f"{as_text(self.study)}: contour"
        if self.trials and len(params) < 2:
            return empty(title, "a contour takes two parameters")
        return self._drawn("contour", params, plot_contour)

    def _drawn(self, kind: str, params: Sequence[str] | None, plot: Any) -> go.Figure:
        title = f"{as_text(self.study)}: {kind}"
        if not self.trials:
            return empty(title, "no trial is complete yet")
        known = {name for one in self.trials for name in one.params}
        wanted = None if params is None else [as_text(name) for name in params]
        for name in wanted or ():
            if name not in known:
                hint = nearest(name, known) or "."
                raise SpecError(f"params: no complete trial has '{name}'{hint} There are {', '.join(sorted(known))}")
        study = optuna.create_study(
            storage=_Held(self.trials), directions=[direction.value for _, direction in self.objectives]
        )
        options: dict[str, Any] = {"params": wanted}
        if len(self.objectives) == 1:
            options["target_name"] = self.objectives[0][0]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that Optuna calls this experimental, which concerns no user
                study.set_metric_names([name for name, _ in self.objectives])
        found: go.Figure = plot(study, **options)
        found.update_layout(
            title={"text": title + of_all(len(self.trials), self.number, "complete trial")}, margin=MARGINS
        )
        return found


class _Held(InMemoryStorage):
    """Has these trials, besides what Optuna stores of their study."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._held = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """These, without copies: nothing changes them."""
        return [trial for trial in self._held if states is None or trial.state in states]


def _escaped(trial: FrozenTrial) -> FrozenTrial:
    """The trial, whose names and choices plotly may show."""
    distributions = {as_text(name): _escaped_choices(its) for name, its in trial.distributions.items()}
    params = {as_text(name): _escaped_value(value) for name, value in trial.params.items()}
    trial.distributions, trial.params = distributions, params
    return trial


def _escaped_choices(distribution: BaseDistribution) -> BaseDistribution:
    if not isinstance(distribution, CategoricalDistribution):
        return distribution
    return CategoricalDistribution([_escaped_value(choice) for choice in distribution.choices])


def _escaped_value(value: Any) -> Any:
    return as_text(value) if isinstance(value, str) else value
