"""What a study is expected to take on this machine, in time and disk, from the batches that were tried and timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpo.search.forecast import SearchSoFar, rest_of_search
from hpo.search.halving import make_rungs
from hpo.search.rungs import Rungs
from hpo.service.preflight import Probe
from hpo.study.length import Unit
from hpo.study.limits import UNLIMITED
from hpo.study.spec import LengthRange, StudySpec


@dataclass(frozen=True)
class Span:
    """A number at the defaults, and the least and the most of the configurations that were tried."""

    least: float
    usual: float
    most: float

    def times(self, factor: float) -> Span:
        return Span(self.least * factor, self.usual * factor, self.most * factor)


@dataclass(frozen=True)
class Estimate:
    """What a study is expected to take, without the work of other programs on the machine.

    Attributes:
        trial_seconds: of a trial that trains to its end; None where that cannot be known.
        seconds: of all trials on all slots, without pruning; None where it, or the number of trials, is not known.
        seconds_with_rungs: at the defaults, where trials pause at rungs and one in eta passes each; None without rungs.
        unknown: why the time of a trial is not known, in words; empty where it is.
        batch_seconds: of a training batch.
        varied: parameters whose smallest and largest values were tried as well.
        weights_bytes: of a file with the weights of a trial's best epoch.
        state_bytes: of a file to resume from, with the state of the optimizer.
        kept: trials whose weights are kept.
        slots: trials at a time.
    """

    trial_seconds: Span | None
    seconds: Span | None
    seconds_with_rungs: float | None
    unknown: str
    batch_seconds: Span
    varied: tuple[str, ...]
    weights_bytes: Span
    state_bytes: Span
    kept: int
    slots: int

    @property
    def kept_bytes(self) -> Span:
        """Of the weights that are kept."""
        return self.weights_bytes.times(self.kept)

    @property
    def running_bytes(self) -> Span:
        """Of what a trial that runs, or is paused, may need: its best weights, and two states to resume from."""
        weights, states = self.weights_bytes, self.state_bytes.times(2)
        return Span(weights.least + states.least, weights.usual + states.usual, weights.most + states.most)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "varied": list(self.varied),
            "kept_bytes": asdict(self.kept_bytes),
            "running_bytes": asdict(self.running_bytes),
        }


def estimate(spec: StudySpec, probes: Sequence[Probe], *, slots: int, varied: Sequence[str]) -> Estimate:
    """The estimate from the defaults, which are the first of the probes, and from other configurations.

    Args:
        varied: the parameters in which these differ.
    """
    lengths = _lengths(spec)
    times = [[trial_seconds(probe, spec, length=length) for probe in probes] for length in lengths]
    least, usual, most = ([seconds for seconds in row if seconds is not None] for row in times)
    is_known = times[1][0] is not None
    trial = Span(min(least), usual[0], max(most)) if is_known else None
    trials = None if spec.budget.trials_target == UNLIMITED else spec.budget.trials_target
    study = None if trial is None or trials is None else trial.times(math.ceil(trials / slots))
    rungs = make_rungs(spec)
    share = _share_with_rungs(rungs, spec, trials) if rungs and trials else None
    last = [probe.measured[-1] for probe in probes]
    return Estimate(
        trial_seconds=trial,
        seconds=study,
        seconds_with_rungs=None if study is None or share is None else study.usual * share,
        unknown="" if is_known else _unknown(probes[0], spec),
        batch_seconds=_span([measured.batch_seconds for measured in last]),
        varied=tuple(varied),
        weights_bytes=_span([measured.weights_bytes for measured in last]),
        state_bytes=_span([measured.state_bytes for measured in last]),
        kept=spec.keep.checkpoints,
        slots=slots,
    )


def _share_with_rungs(rungs: Rungs, spec: StudySpec, trials: int) -> float:
    """Of the epochs that so many trials would train without rungs, which promote the better ones."""
    length = spec.max_epochs
    search = SearchSoFar(
        [], trials=trials, epochs=length, slots=1, halving=rungs.halving(length), interval=spec.interval
    )
    return rest_of_search(search).epochs / (trials * length)


def trial_seconds(probe: Probe, spec: StudySpec, *, length: int) -> float | None:
    """Seconds of a trial that trains to its end; None where the number of its batches is not known.

    Args:
        length: of the trial, in the study's unit.
    """
    first, last = probe.measured[0], probe.measured[-1]
    batches = length if spec.unit == Unit.STEP else _product(length, last.all_batches)
    if batches is None or last.all_validation_batches is None:
        return None
    passes = length if spec.unit == Unit.EPOCH else length / last.all_batches if last.all_batches else 1
    validations = _validations(spec, length, last.all_batches)

    def in_batches(trained: float, validated: float) -> float:
        return trained * last.batch_seconds + validated * last.validation_batch_seconds

    # Of an epoch, beside its batches: the loaders' processes start, metrics are reported, weights copied.
    around = max(0.0, last.epoch_seconds - in_batches(last.batches, last.validation_batches))
    warm_up = max(0.0, first.epoch_seconds - around - in_batches(first.batches, first.validation_batches))
    of_batches = in_batches(batches, validations * last.all_validation_batches)
    # The process and its imports are needed once, data and model for each training.
    once = probe.seconds_to_training + warm_up
    return once + spec.trainings * (of_batches + max(passes, validations) * around)


def _validations(spec: StudySpec, length: int, batches: int | None) -> float:
    """How often a trial validates."""
    interval, every = spec.trainer.val_check_interval, spec.trainer.check_val_every_n_epoch
    if spec.unit == Unit.STEP:
        return math.ceil(length / spec.interval)
    if every is None:
        return length * (batches or 0) // int(interval)
    if interval is None:
        return length // every
    in_an_epoch = (batches or 0) // interval if isinstance(interval, int) else round(1 / interval)
    return int(in_an_epoch) * (length // every)


def _lengths(spec: StudySpec) -> tuple[int, int, int]:
    """The least, the usual and the largest length of a trial."""
    length = spec.length
    if not isinstance(length, LengthRange):
        return length, length, length
    middle = math.sqrt(length.low * length.high) if length.log else (length.low + length.high) / 2
    return length.low, round(middle), length.high


def _unknown(probe: Probe, spec: StudySpec) -> str:
    last = probe.measured[-1]
    missing = "training" if spec.unit == Unit.EPOCH and last.all_batches is None else "validation"
    return f"the loader of the {missing} data has no length"


def _product(length: int, batches: int | None) -> int | None:
    return None if batches is None else length * batches


def _span(values: Sequence[float]) -> Span:
    return Span(min(values), values[0], max(values))
