"""Samplers and pruners by name: Optuna's classes under the field's names, with their options checked before use.

A sampler is built anew for each trial, seeded by the study's seed and the trial's number: its proposal depends on these
and on the trials before, never on the worker that asks or on restarts.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning

from hpo.errors import HpoError, LoadError, SpecError, nearest
from hpo.loading import load_class
from hpo.search.halving import ETA, FIRST_RUNG, make_rungs
from hpo.search.points import Points
from hpo.search.tpe import TPE, Memory
from hpo.space import SearchSpace
from hpo.study.earlier import Earlier
from hpo.study.length import Unit
from hpo.study.spec import AlgorithmSpec, StudySpec

# Our names for options, and Optuna's: an epoch is a resource there. With a length in steps, ours are `min_steps`, ...
HALVING = {"eta": "reduction_factor", "min_epochs": "min_resource", "max_epochs": "max_resource"}

# Optuna counts steps from 0, we count epochs from 1: with a warm-up of 3, the first epoch that is judged is the fourth.
STEPS_FROM_ZERO = ("n_warmup_steps",)

SamplerFactory = Callable[[int], optuna.samplers.BaseSampler]


def derive_seed(*parts: object) -> int:
    """A seed of 32 bits from the parts of its identity: (study seed, trial number, purpose)."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class _SobolPoint(optuna.samplers.QMCSampler):
    """The point of the sequence that belongs to one trial's number, in the whole space.

    Optuna counts the points in the store, and miscounts when several workers ask at once; trial numbers are exact. And
    it takes the space from earlier trials: without one, and for parameters that the first one lacked, it would draw the
    same random number for every trial.
    """

    def __init__(self, number: int, distributions: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(warn_asynchronous_seeding=False, warn_independent_sampling=False, **options)
        self._number = number
        self._distributions = dict(distributions)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {name: item for name, item in self._distributions.items() if not item.single()}

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


@dataclass(frozen=True)
class _Known:
    """One algorithm: Optuna's class, its names for our options, and our defaults."""

    cls: type[Any]
    renamed: Mapping[str, str]
    defaults: Mapping[str, Any]


AUTO, LONG = "auto", 1000
STARTUP = 8  # trials at random before gp has a model
EXPLORED, EXPLORED_EVERY = 30, 3  # from which trial on one of how many is drawn at random
GP = "gp"  # hpo.search.bayesian, which most studies need not import
SAMPLERS: dict[str, _Known] = {
    "tpe": _Known(optuna.samplers.TPESampler, {}, {}),
    "random": _Known(optuna.samplers.RandomSampler, {}, {}),
    "grid": _Known(optuna.samplers.RandomSampler, {}, {}),
    "qmc": _Known(optuna.samplers.QMCSampler, {}, {"scramble": True}),
    "nsga2": _Known(optuna.samplers.NSGAIISampler, {}, {}),
}
PRUNERS: dict[str, _Known] = {
    "asha": _Known(optuna.pruners.SuccessiveHalvingPruner, HALVING, {"reduction_factor": ETA}),
    "median": _Known(optuna.pruners.MedianPruner, {}, {}),
    "percentile": _Known(optuna.pruners.PercentilePruner, {}, {}),
    "hyperband": _Known(optuna.pruners.HyperbandPruner, HALVING, {"reduction_factor": ETA}),
    "threshold": _Known(optuna.pruners.ThresholdPruner, {}, {}),
    "patient": _Known(optuna.pruners.PatientPruner, {}, {"wrapped_pruner": None}),
    "none": _Known(optuna.pruners.NopPruner, {}, {}),
}


def sampler_factory(
    spec: StudySpec, space: SearchSpace, project: Path, earlier: Earlier | None = None
) -> SamplerFactory:
    """A function of the trial's number that gives the sampler for that trial.

    Args:
        earlier: what earlier studies know, of which tpe and gp learn.

    Raises:
        SpecError: an unknown name or option, or a value that the sampler refuses.
    """
    chosen = spec.sampler
    if chosen.name == AUTO:
        return _alternating(spec, space, project, earlier)
    if chosen.name == GP:
        return _bayesian(spec, space, earlier)
    cls, options = _resolve(chosen, SAMPLERS, "sampler", project)
    seed = options.pop("seed", spec.seed)
    if "seed" not in inspect.signature(cls).parameters:
        made = _make(cls, options, "sampler")
        return lambda _: made
    if chosen.name == "qmc":
        distributions = distributions_of(space)
        _make(cls, options | {"seed": seed}, "sampler")
        return lambda number: _quietly(lambda: _SobolPoint(number, distributions, seed=seed, **options))
    if chosen.name == "tpe":
        if any(parameter.when for parameter in space.values()):
            # Samples jointly inside conditional branches; otherwise a conditional parameter is sampled on its own.
            options = {"multivariate": True, "group": True} | options
        elif spec.objectives.are_several:  # as Optuna's own for one objective; see docs/decisions/0021
            options = {"multivariate": True} | options
        _make(cls, options | {"seed": seed}, "sampler")  # errors name Optuna's class
        distributions = distributions_of(space)
        memory = Memory(earlier, distributions, first_rung=_first_rung(spec))
        own = {"memory": memory, "points": Points(space), "distributions": distributions}
        cls, options = TPE, options | own
    _make(cls, options | {"seed": seed}, "sampler")
    return lambda number: _make(cls, options | {"seed": derive_seed(seed, number, "sampler")}, "sampler")


def _first_rung(spec: StudySpec) -> int | None:
    try:
        rungs = make_rungs(spec)
    except SpecError:  # which is told of the pruner
        return None
    return None if rungs is None else rungs.first


def _alternating(spec: StudySpec, space: SearchSpace, project: Path, earlier: Earlier | None) -> SamplerFactory:
    """`gp` and `tpe` in turns, each of which learns from the trials of both, see docs/decisions/0023.

    Later than LONG, tpe alone: it models as many trials in a fraction of the time. From EXPLORED on, each third trial
    is drawn at random (Falkner et al. 2018, BOHB, arXiv 1807.01774, section 3.2): what a few early trials have made
    look bad, such as one of several models, would not be tried again.
    """
    options = spec.sampler.options
    if unknown := sorted(options.keys() - {"n_startup_trials", "seed"}):
        raise SpecError(f"sampler: auto has no option '{unknown[0]}': name tpe or gp, or give n_startup_trials or seed")
    # TPE without a model draws at random, but not where points are likely to be infeasible.
    gp, tpe, at_random = (
        sampler_factory(
            spec.model_copy(update={"sampler": AlgorithmSpec(name=name, options=options | more)}), space, project, its
        )
        for name, more, its in (
            (GP, {}, earlier),
            ("tpe", {}, earlier),
            ("tpe", {"n_startup_trials": sys.maxsize}, None),
        )
    )
    first = options.get("n_startup_trials", STARTUP) if earlier is None else 0  # before it, both draw at random

    def sampler(number: int) -> optuna.samplers.BaseSampler:
        if number >= EXPLORED and number % EXPLORED_EVERY == EXPLORED_EVERY - 1:
            return at_random(number)
        return (gp if first <= number < LONG and number % 2 == 0 else tpe)(number)

    return sampler


def _bayesian(spec: StudySpec, space: SearchSpace, earlier: Earlier | None) -> SamplerFactory:
    known = {"n_startup_trials": STARTUP, "seed": spec.seed}
    options = known | spec.sampler.options
    for name, value in options.items():
        if name not in known:
            raise SpecError(
                f"sampler: gp has no option '{name}'{nearest(name, known) or '.'} It has {', '.join(known)}"
            )
        if type(value) is not int or value < 0:
            raise SpecError(f"sampler: gp: {name} {value!r} should be a whole number, 0 or more")
    points, distributions = Points(space), distributions_of(space)

    @cache
    def theirs() -> tuple[Any, Any] | None:
        from scipy.special import ndtri

        from hpo.search.bayesian import MOST_EARLIER

        some = [] if earlier is None else earlier.some(MOST_EARLIER)
        return (points.rows([one.params for one in some]), ndtri([one.rank for one in some])) if some else None

    def sampler(number: int) -> optuna.samplers.BaseSampler:
        from hpo.search.bayesian import BayesianSampler  # with SciPy, whose import takes a third of a second

        return BayesianSampler(
            points,
            distributions,
            reports=-(-spec.max_epochs // spec.interval),
            interval=spec.interval,
            length=searched_length(spec, space),
            startup=options["n_startup_trials"],
            seed=derive_seed(options["seed"], number, "sampler"),
            earlier=theirs(),
        )

    return sampler


def searched_length(spec: StudySpec, space: SearchSpace) -> str | None:
    """The parameter that is the length of a trial; None where all have the same."""
    name = spec.unit.plural
    return name if name in space and space[name].owner not in ("model", "data") else None


def make_pruner(spec: StudySpec, project: Path) -> optuna.pruners.BasePruner:
    """The study's pruner; one that prunes nothing where rungs decide.

    Raises:
        SpecError: an unknown name or option, or a value that the pruner refuses.
    """
    if make_rungs(spec) is not None:
        return optuna.pruners.NopPruner()
    if spec.pruner.name == "asha" and "mode" in spec.pruner.options:
        options = {name: value for name, value in spec.pruner.options.items() if name != "mode"}
        spec = spec.model_copy(update={"pruner": spec.pruner.model_copy(update={"options": options})})
    cls, options = _resolve(spec.pruner, PRUNERS, "pruner", project, unit=spec.unit)
    if spec.pruner.name in ("asha", "hyperband"):
        options.setdefault("min_resource", FIRST_RUNG * spec.interval)
    if cls is optuna.pruners.HyperbandPruner:
        # 'auto' would be estimated by each worker on its own.
        options = {"max_resource": spec.max_epochs} | options
    if cls is optuna.pruners.PatientPruner and isinstance(options["wrapped_pruner"], str):
        halving = {"mode": "stop"} if options["wrapped_pruner"] == "asha" else {}
        inner = AlgorithmSpec(name=options["wrapped_pruner"], options=halving)
        options["wrapped_pruner"] = make_pruner(spec.model_copy(update={"pruner": inner}), project)
    pruner: optuna.pruners.BasePruner = _make(cls, options, "pruner")
    return pruner


def _resolve(
    chosen: AlgorithmSpec, known: Mapping[str, _Known], what: str, project: Path, *, unit: Unit = Unit.EPOCH
) -> tuple[type[Any], dict[str, Any]]:
    """The class and its options under its own names, all of them known to its signature."""
    if chosen.label is not None:
        entry = _Known(load_class(chosen.label, project), {}, {})
        base = optuna.samplers.BaseSampler if what == "sampler" else optuna.pruners.BasePruner
        if not issubclass(entry.cls, base):
            raise LoadError(f"{what}: {chosen.label} is no optuna {base.__name__}")
        if issubclass(entry.cls, optuna.samplers.CmaEsSampler):  # whoever can write to the store could run code here
            raise SpecError(
                f"{what}: {chosen.label} keeps pickled objects in the store, which are never read here: use tpe or gp"
            )
    elif chosen.name is not None and chosen.name in known:
        entry = known[chosen.name]
    else:
        name = str(chosen.name)
        names = [*([AUTO, GP] if what == "sampler" else []), *known]
        raise SpecError(f"{what}: '{name}' is not known{nearest(name, names) or '.'} Known: {', '.join(names)}")
    taken = list(inspect.signature(entry.cls).parameters)
    renamed = {name.replace(Unit.EPOCH.plural, unit.plural): theirs for name, theirs in entry.renamed.items()}
    ours = {theirs: name for name, theirs in renamed.items() if theirs in taken}
    options = dict(entry.defaults)
    for name, value in chosen.options.items():
        target = renamed.get(name, name)
        if target not in taken:
            offered = [ours.get(parameter, parameter) for parameter in taken]
            raise SpecError(
                f"{what}: {chosen.name or chosen.label} has no option '{name}'{nearest(name, offered) or '.'} "
                f"It has {', '.join(offered) or 'none'}"
            )
        is_count = target in STEPS_FROM_ZERO and chosen.name is not None and isinstance(value, int)
        options[target] = value + 1 if is_count else value
    return entry.cls, options


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's distributions of all parameters, conditional ones too."""
    first = {parameter.name: parameter.first() for parameter in space.values()}
    trial = optuna.trial.FixedTrial(space.stored(first))
    for parameter in space.values():
        parameter.range.suggest(trial, parameter.name)
    return trial.distributions


def _make(cls: type[Any], options: Mapping[str, Any], what: str) -> Any:
    try:
        return _quietly(lambda: cls(**options))
    except HpoError:
        raise
    except Exception as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise SpecError(f"{what}: {cls.__name__}({shown}): {error}") from error


def _quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return make()
