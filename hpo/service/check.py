"""What `hpo check` does: a study validated and tried with one batch, and what it will cost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.printable import counted
from hpo.results.warm_start import Weights, find_weights, names_weights
from hpo.search.grid import points_in
from hpo.service.earlier import read_earlier
from hpo.service.estimate import Estimate, estimate
from hpo.service.notify import check_targets
from hpo.service.preflight import Probe, slots_for, try_one_batch
from hpo.service.prepare import prepare
from hpo.space import Int, SearchSpace
from hpo.space.parameter import Owner
from hpo.store import Store
from hpo.study.alternatives import MODEL
from hpo.study.devices import Slot
from hpo.study.gpus import total_bytes
from hpo.study.job import OWN_LOADERS
from hpo.study.length import Unit
from hpo.study.limits import UNLIMITED
from hpo.study.objectives import Objectives
from hpo.study.resolved_study import OWNERS
from hpo.study.spec import StudySpec
from hpo.study.states import Direction
from hpo.study.study_file import Source

FEW_SAMPLES = 200
MOST_COUNTED = 1000  # points: nobody tries all of more

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyCheck:
    """A study that can be searched, and what that will cost.

    Attributes:
        study: its name.
        space: what is searched.
        objectives: what it optimises.
        metrics: all that the model logs.
        parameters: of the model at its defaults.
        budget: in words.
        trials: None where there is no limit of them.
        max_epochs: of a trial, in the study's unit.
        unit: of the length of its trials: `epoch` or `step`.
        devices: of this machine's slots, one each: `cpu`, `gpu 0`.
        estimate: of its time and its disk space on these slots.
        advice: what would make its result more certain, and what it takes over from earlier studies, in words.
        memory: of a trial's process, at the defaults and of the largest configuration, in words.
    """

    study: str
    space: SearchSpace
    objectives: Objectives
    metrics: tuple[str, ...]
    parameters: int
    budget: str
    trials: int | None
    max_epochs: int
    unit: Unit
    devices: tuple[str, ...]
    estimate: Estimate
    advice: tuple[str, ...] = ()
    memory: str = ""

    @property
    def metric(self) -> str:
        """The first objective."""
        return self.objectives.metrics[0]

    @property
    def direction(self) -> Direction:
        """Of the first objective."""
        return self.objectives.first

    @property
    def epochs(self) -> int | None:
        """Of all trials together, before pruning, in the study's unit; None where there is no limit of trials."""
        return None if self.trials is None else self.trials * self.max_epochs

    def to_json(self) -> dict[str, Any]:
        """What `hpo check --json` prints."""
        return {
            "study": self.study,
            "searched": self.space.to_json(),
            "metrics": list(self.metrics),
            "parameters": self.parameters,
            "budget": self.budget,
            "trials": self.trials,
            self.unit.plural: self.epochs,
            "slots": len(self.devices),
            "estimate": self.estimate.to_json(),
            "advice": list(self.advice),
            "memory": self.memory,
        }

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: what would be searched, and what it would cost."""
        from hpo.notebook import block, facts, line

        found = self.estimate.trial_seconds
        seconds = f"{found.least:.3g} to {found.most:.3g}" if found else self.estimate.unknown
        return block(
            line(f"{self.study}: fine", is_title=True),
            facts(
                [
                    ("objective", self.objectives),
                    ("the model logs", ", ".join(self.metrics)),
                    ("parameters of the model", f"{self.parameters:,} at its defaults"),
                    ("budget", f"{self.budget}; a trial has at most {self.unit.counted(self.max_epochs)}"),
                    ("slots here", ", ".join(self.devices)),
                    ("seconds of a trial", seconds),
                    ("memory", self.memory),
                    ("advice", "; ".join(self.advice)),
                    *((f"searched: {parameter.name}", parameter) for parameter in self.space.values()),
                ]
            ),
        )


def extremes(space: SearchSpace, *, owner: Owner = "data") -> Iterator[tuple[str, dict[str, Any]]]:
    """The configurations with the smallest and the largest batches, windows, ...: all integers of the data module.

    Each with its name in words; none when the owner searches no integers.

    Args:
        owner: model for its widths, depths, ... instead.
    """
    integers = [p for p in space.values() if p.owner == owner and isinstance(p.range, Int)]
    defaults = space.defaults()
    found = []
    for which in ("low", "high"):
        point = defaults | {p.name: getattr(p.range, which) for p in integers if p.name in defaults}
        if point != defaults and point not in found:
            found.append(point)
            words = ", ".join(f"{p.name}={point[p.name]}" for p in integers if p.name in point)
            yield f"one batch with {words}", point


def largest(space: SearchSpace) -> tuple[str, dict[str, Any]]:
    """The configuration that needs the most memory, as far as names do not matter, and what it is, in words.

    All integers, and choices of integers, have their largest value; the others their default.
    """
    point = space.defaults()
    for parameter in space.values():
        values: Sequence[Any] = getattr(parameter.range, "choices", ())
        if isinstance(parameter.range, Int):
            values = (parameter.range.high,)
        if (
            parameter.owner in OWNERS
            and parameter.name in point
            and values
            and all(type(value) is int for value in values)
        ):
            point[parameter.name] = max(values)
    words = ", ".join(f"{name}={value}" for name, value in point.items() if value != space.defaults()[name])
    return words, point


def check_study(
    spec: StudySpec, source: Source, *, server: ForkServer, project: Path, open_store: Callable[[], Store]
) -> StudyCheck:
    """Validate a study, and train and validate some batches: of its defaults, and at both ends of its integers.

    Args:
        open_store: called only for a study that starts from earlier studies, or from the weights of a trial.

    Raises:
        SpecError: the study is invalid, or the batch fails.
        LoadError: a class cannot be imported.
        StoreError: the study starts from another one, or from its weights, and there is no store.
    """
    check_targets(spec, source, project)
    slots = slots_for(spec, source, also_held=True)
    with prepare(spec, source, server=server, project=project) as prepared:
        weights: Weights = {}
        advice: tuple[str, ...] = ()
        if spec.start_from:
            with open_store() as store:
                earlier = read_earlier(store, prepared.resolved, source, project=project)
                advice = () if earlier is None else earlier.words
        if names_weights(prepared.resolved):
            with open_store() as store:
                weights = find_weights(store, prepared.resolved, source)
        attempt = partial(try_one_batch, prepared, slot=slots[0], weights=weights, is_timed=True)
        first, *others = prepared.resolved.first_points()
        probes = [probe := attempt(params=first)]
        probes += [attempt(params=params, what=f"one batch of {params[MODEL]}") for params in others]
        for what, params in extremes(prepared.resolved.space):
            probes.append(attempt(params=params, what=what))
        for what, params in extremes(prepared.resolved.space, owner="model"):
            try:
                probes.append(attempt(params=params, what=what))
            except SpecError as error:  # a model that is too large, for instance, fails its trials and not the study
                log.warning("%s", error)
        memory = _memory_in_words(probe, prepared.resolved.space, attempt, slots)
    varied = [name for name in probe.params if any(other.params.get(name) != probe.params[name] for other in probes)]
    return StudyCheck(
        study=spec.study,
        space=prepared.resolved.space,
        objectives=spec.objectives,
        metrics=probe.metrics,
        parameters=probe.parameters,
        budget=str(spec.budget),
        trials=None if spec.budget.trials_target == UNLIMITED else spec.budget.trials_target,
        max_epochs=spec.max_epochs,
        unit=spec.unit,
        devices=tuple(slot.device for slot in slots),
        # How many trials share a GPU is found out while they train; there is one at least.
        estimate=estimate(spec, probes, slots=len({s.devices if s.is_probed else s for s in slots}), varied=varied),
        advice=(
            *_of_constraints(spec, probes[0]),
            *_advice(spec, probe.measured[-1].validation_samples),
            *_of_few_points(spec, prepared.resolved.space),
            *advice,
        ),
        memory=memory,
    )


def _memory_in_words(probe: Probe, space: SearchSpace, attempt: Callable[..., Probe], slots: Sequence[Slot]) -> str:
    """The memory of a trial at the defaults and of the largest one, and whether as many as there are slots fit."""
    if probe.memory is None:
        return "not known"
    words, point = largest(space)
    most, text = probe.memory, f"{_mebibytes(probe.memory)} at the defaults"
    if words:
        try:
            found = attempt(params=point, what=f"one batch of the largest configuration ({words})").memory
        except SpecError as error:
            log.warning("%s", error)
            return f"{text}; the largest configuration ({words}) cannot be trained, as is said above"
        most = max(most, found or 0)
        text += f", {_mebibytes(most)} of the largest configuration ({words})"
    at_a_time, total = slots[0].shared_by, total_bytes(slots[0].devices) if slots[0].devices else None
    if not slots[0].devices:
        at_a_time, total = len(slots) * slots[0].ranks, psutil.virtual_memory().available
    if total is not None and at_a_time * most > total and not slots[0].is_probed:
        text += f". {at_a_time} of these at a time may run out of the {_mebibytes(total)} that are here"
    return text


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _of_constraints(spec: StudySpec, probe: Probe) -> tuple[str, ...]:
    words = probe.infeasible(spec)
    if words is None:
        return ()
    is_first = spec.first_trial == "defaults" and spec.sampler.name != "grid"
    return (f"{words}{'; the first trial tries it, so write first_trial: sampled' if is_first else ''}",)


def _of_few_points(spec: StudySpec, space: SearchSpace) -> tuple[str, ...]:
    """Whether there are fewer points than trials; of a space of one point, all trials try it with other seeds."""
    trials = spec.budget.trials_target
    points = points_in(space, most=min(trials, MOST_COUNTED))
    if not 1 < points < trials or points == MOST_COUNTED:
        return ()
    asked = "trials without a limit" if trials == UNLIMITED else counted(trials, "trial")
    return (
        f"the space has {points} points, and {asked} are asked for: the search ends when each was tried once. "
        "repeats: 3 trains each three times",
    )


def _advice(spec: StudySpec, samples: int | None) -> tuple[str, ...]:
    """Whether the validation part has too few samples to tell trials apart.

    Of n samples, the standard error of an accuracy of 0.9 is 0.3 / sqrt(n): 0.02 of 200.
    """
    if samples is None or not 0 < samples < FEW_SAMPLES or spec.trainings > 1 or spec.data.label == OWN_LOADERS:
        return ()
    return (
        f"{counted(samples, 'sample')} for validation can hardly tell trials apart: one of them is "
        f"{100 / samples:.2g} % of an accuracy. folds: 5 judges each trial by five times as many: docs/small-data.md",
    )
