"""How likely points of a space are to satisfy a study's constraints, from the trials that did and those that did not.

A Gaussian process on -1 for feasible trials and 1 for the others, as in least-squares classification (Rasmussen and
Williams 2006, section 6.5), with a length scale for each parameter: of many, few decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from hpo.search.gaussian_process import Posterior, fit, kernel
from hpo.search.points import Points, squared_distances
from hpo.study.constraints import total

MOST = 100  # trials that it is fitted to, the newest ones
LIKELY = 0.75  # how likely a proposal has to be feasible
THREADS = ThreadpoolController()


class Feasibility:
    """What the trials of a study say.

    Args:
        points: of the search space.
    """

    def __init__(self, points: Points, trials: Sequence[FrozenTrial]) -> None:
        ended = [trial for trial in trials if trial.state.is_finished() and trial.state != TrialState.FAIL]
        known = ended[-MOST:]
        self._points = points
        self._rows = points.valid(points.rows([trial.params for trial in known]))
        labels = np.array([1.0 if total(trial.constraints) > 0 else -1.0 for trial in known])
        self.has_both = bool(len(set(labels)) == 2)
        if not self.has_both:
            return
        with THREADS.limit(limits=1):  # as in hpo.search.bayesian
            missing = np.zeros(len(known))
            squared = squared_distances(self._rows, self._rows, points.is_choice)
            scales = fit(squared, labels, missing)
            noise = np.diag(scales.noise_of(missing))
            self._inverse = scales.inverse
            self._posterior = Posterior(kernel(squared, scales.inverse) + noise, labels)

    def probabilities(self, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Of each point, as its parameters; those that are inactive do not matter."""
        rows = self._points.valid(self._points.rows(candidates))
        with THREADS.limit(limits=1):
            across = kernel(squared_distances(rows, self._rows, self._points.is_choice), self._inverse)
            mean, deviation = self._posterior.mean(across), self._posterior.deviation(across)
        return np.asarray(ndtr(-mean / np.maximum(deviation, 1e-9)), float)
