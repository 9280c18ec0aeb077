"""The rungs of a study, by its file. It does not import Optuna: verbs that only look need them for a forecast."""

from __future__ import annotations

import inspect
from collections.abc import Collection

from hpo.errors import SpecError, nearest
from hpo.search.rungs import Rungs
from hpo.space.values import is_number
from hpo.study.objectives import Objectives
from hpo.study.spec import StudySpec

ETA, FIRST_RUNG = 3, 3  # the first rung is at so many epochs, or validations
LAST_RUNG = 0.5  # of the length of a trial: there is no rung after it


def make_rungs(spec: StudySpec, *, objectives: Objectives | None = None) -> Rungs | None:
    """The rungs of a study whose pruner pauses and promotes trials; None where Optuna's stops them for good.

    Optuna's compares one objective: with several, these rungs stop them.

    Args:
        objectives: that they compare; by default, the study's.

    Raises:
        SpecError: an unknown mode or option, or an invalid value.
    """
    mode = spec.pruner.options.get("mode", "promote")
    are_several = spec.objectives.are_several
    if spec.pruner.name != "asha" or (mode == "stop" and not are_several):
        return None
    if mode not in ("promote", "stop"):
        raise SpecError(f"pruner: asha: mode '{mode}' should be stop or promote")
    first = f"min_{spec.unit.plural}"
    known = ("mode", "eta", first, "until")
    options = {"eta": ETA, first: FIRST_RUNG * spec.interval, "until": LAST_RUNG, **spec.pruner.options}
    options.pop("mode", None)
    for name in sorted(options.keys() - {*known}):
        if not are_several and name in _options_of_optuna():
            raise SpecError(f"pruner: asha has the option '{name}' only with mode: stop, where it stops for good")
        raise SpecError(f"pruner: asha has no option '{name}'{nearest(name, known) or '.'} It has {', '.join(known)}")
    for name, least in (("eta", 2), (first, 1)):
        if type(options[name]) is not int or options[name] < least:
            raise SpecError(f"pruner: asha: {name} {options[name]!r} should be a whole number, {least} or more")
    until = options["until"]
    if not is_number(until) or not 0 < until <= 1:
        raise SpecError(f"pruner: asha: until {until!r} should be a fraction of a trial's length, above 0 and up to 1")
    last = until * spec.max_epochs
    if first in spec.pruner.options:
        last = max(last, options[first])
    return Rungs(
        eta=options["eta"],
        first=options[first],
        last=last,
        objectives=objectives or spec.objectives,
        promotes=mode == "promote",
    )


def _options_of_optuna() -> Collection[str]:
    """The options of its pruner, which `mode: stop` takes."""
    from optuna.pruners import SuccessiveHalvingPruner

    return inspect.signature(SuccessiveHalvingPruner).parameters
