"""`study.plot`: figures of plotly, Optuna's own where they hold for our studies.

Optuna's plots know complete trials only, so the history, the curves and the times of a search whose trials are pruned,
or wait at rungs, are drawn here; so is a front, of any number of objectives. Parallel coordinates, slices and contours
are Optuna's, of complete trials, which were all judged after a whole training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo.errors import SpecError, nearest
from hpo.report.importances import importances_of
from hpo.results.study import Study
from hpo.store import Store

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_LINES = 400  # trials of parallel coordinates, each of which is a line of its own
MOST_SLICED = 1_000  # trials, in each slice
MOST_OF_A_CONTOUR = 150  # trials: its grid has their number squared
PARAMETERS_OF_A_CONTOUR = 3  # by default: each pair is a plot


class Plots:
    """The figures of one study; each reads the store anew.

    Of thousands of trials, some are drawn, evenly chosen, with the best ones: a figure stays small enough for a
    notebook, and its title says so. Trials from before an accepted change of data or code are left out.

    Raises:
        SpecError: plotly is not installed.
    """

    def __init__(self, store: Store, study: Study) -> None:
        try:
            import plotly  # noqa: F401
        except ImportError:
            raise SpecError(
                "study.plot draws with plotly, which is not installed: pip install 'hpo-service[notebook]' does it"
            ) from None
        self._store = store
        self._study = study

    def history(self, objective: str | None = None) -> go.Figure:
        """The value of each trial, in their order, and the best so far; pruned trials with the best that they reached.

        Args:
            objective: of several, which one; by default the first.

        Raises:
            SpecError: the study has no such objective.
        """
        from hpo.plots.trial_figures import history

        return history(self._study, self._place(objective))

    def curves(self, metric: str | None = None) -> go.Figure:
        """A metric of each trial by epoch, or by step, also of those that were pruned.

        Args:
            metric: by default the first objective.

        Raises:
            SpecError: no epoch has such a metric.
        """
        from hpo.plots.trial_figures import curves

        return curves(self._store, self._study, metric)

    def importance(self) -> go.Figure:
        """How much each parameter matters, as `study.importance()` computes it, with the spread over resamples."""
        from hpo.plots.study_figures import importance

        return importance(importances_of(self._store, self._study.name))

    def timeline(self) -> go.Figure:
        """When each trial was trained: a bar for each attempt, so that a trial that waited has gaps."""
        from hpo.plots.study_figures import timeline

        return timeline(self._store, self._study)

    def pareto(self, objectives: Sequence[str] | None = None) -> go.Figure:
        """The front of a study of several objectives, and the trials behind it.

        Args:
            objectives: two or three that are drawn; by default the first three. The front is that of all objectives.

        Raises:
            SpecError: the study has one objective, or not those.
        """
        from hpo.plots.study_figures import pareto

        front = self._study.front()
        places = [self._place(name) for name in objectives or front.names[:3]]
        if len(set(places)) not in (2, 3):
            raise SpecError(f"objectives: name two or three of {', '.join(front.names)}")
        return pareto(front, places)

    def parallel(self, params: Sequence[str] | None = None) -> go.Figure:
        """Parallel coordinates of the parameters and the objectives of complete trials: Optuna's.

        Args:
            params: these; by default all.

        Raises:
            SpecError: no complete trial has such a parameter.
        """
        from hpo.plots.of_optuna import CompleteTrials

        trials = CompleteTrials.read(self._store, self._study, most=MOST_LINES)
        return trials.parallel(params)

    def slice(self, params: Sequence[str] | None = None, *, objective: str | None = None) -> go.Figure:
        """The objective of complete trials by each parameter alone: Optuna's.

        Args:
            params: these; by default all.
            objective: of several, which one; by default the first.

        Raises:
            SpecError: no complete trial has such a parameter, or the study no such objective.
        """
        from hpo.plots.of_optuna import CompleteTrials

        trials = CompleteTrials.read(self._store, self._study, most=MOST_SLICED, place=self._place(objective))
        return trials.slice(params)

    def contour(self, params: Sequence[str] | None = None, *, objective: str | None = None) -> go.Figure:
        """The objective of complete trials over pairs of parameters: Optuna's.

        Args:
            params: these; by default the three that matter most, or the first ones while that cannot be told.
            objective: of several, which one; by default the first.

        Raises:
            SpecError: no complete trial has such a parameter, or the study no such objective.
        """
        from hpo.plots.of_optuna import CompleteTrials

        trials = CompleteTrials.read(self._store, self._study, most=MOST_OF_A_CONTOUR, place=self._place(objective))
        if params is None:
            found = importances_of(self._store, self._study.name).parameters
            params = ([one.name for one in found] or trials.varied)[:PARAMETERS_OF_A_CONTOUR]
        return trials.contour(params)

    def _place(self, objective: str | None) -> int:
        """Of an objective among those of the study."""
        names = self._study.objectives.metrics or ("value",)
        if objective is None:
            return 0
        if objective not in names:
            hint = nearest(objective, names) or "."
            raise SpecError(f"objective: there is no '{objective}'{hint} There are {', '.join(names)}")
        return names.index(objective)
