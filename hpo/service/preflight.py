"""Before the first trial: find the machine's slots and try one batch, so that mistakes show now."""

from __future__ import annotations

import logging
import selectors
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import SpecError, nearest
from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.incoming import InvalidMessageError, read_report
from hpo.ipc.messages import (
    LOST_RANK,
    SECONDS_FOR_THE_CAUSE,
    Answer,
    Done,
    Epoch,
    Failed,
    Measured,
    Probed,
    Report,
    Started,
    Training,
    Warned,
    message_of,
)
from hpo.results.warm_start import Weights
from hpo.search.algorithms import derive_seed
from hpo.service.prepare import PreparedStudy
from hpo.study.constraints import UNITS, violated
from hpo.study.devices import Slot, slots_of
from hpo.study.length import Unit
from hpo.study.objectives import INFERENCE_MS, PARAMETERS, PEAK_MEMORY, SECONDS_PER_EPOCH
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath, Source
from hpo.worker.jobs import trial_jobs
from hpo.worker.trial_report import never_logged

log = logging.getLogger(__name__)

# A metric need not be logged in each epoch, or validation; that of every tenth is found.
MOST_REPORTS = 10
# Batches an epoch that are timed, as many of them as a few seconds allow, and epochs: the first one is slower.
TIMED_BATCHES, TIMED_EPOCHS = 40, 2
MOST_SECONDS_FOR_TIMING = 20.0
# What an error of Lightning's or torch's advises, by a part of it, as keys of a study file.
ADVICE = {
    "find_unused_parameters": "\nIn the study file: resources: {strategy: ddp_find_unused_parameters_true}",
    "use_distributed_sampler": "\nIn the study file: resources: {use_distributed_sampler: false}",
    "requires a GPU accelerator": "\nIn the study file: resources: {strategy: ddp}",
}
MOST_MINUTES = 10.0  # unless the study file says how long a step may take


@dataclass(frozen=True)
class Probe:
    """What one batch through the default configuration showed.

    Attributes:
        metrics: names that the model logs.
        parameters: of the model.
        params: the searched parameters.
        seconds_to_training: from the start of the process to the first step.
        measured: each epoch of a few batches that was timed.
        memory: bytes at its peak, see `hpo.training.peak_memory`; None where the system does not tell.
        inference_ms: see `hpo.ipc.messages.Probed`; None where no constraint asks for it.
    """

    metrics: tuple[str, ...]
    parameters: int
    params: Mapping[str, Any]
    seconds_to_training: float
    measured: tuple[Measured, ...]
    memory: int | None = None
    inference_ms: float | None = None

    @property
    def quantities(self) -> dict[str, float]:
        """What constraints may be about, as far as a batch shows it."""
        known = {
            PARAMETERS: self.parameters,
            PEAK_MEMORY: self.memory,
            INFERENCE_MS: self.inference_ms,
            SECONDS_PER_EPOCH: None if not self.measured else self.measured[-1].whole_epoch_seconds,
        }
        return {name: float(value) for name, value in known.items() if value is not None}

    def infeasible(self, spec: StudySpec) -> str | None:
        """Which constraints of the study it violates, in words; None where it violates none."""
        against = violated(spec.limits_of_trials, self.quantities)
        if not against:
            return None
        point = ", ".join(f"{name}={value}" for name, value in self.params.items())
        words = "; ".join(one.shown(self.quantities[one.name]) for one in against)
        return f"the default configuration ({point}) violates a constraint: {words}"


def slots_for(spec: StudySpec, source: Source, *, wanted: int | None = None, also_held: bool = False) -> list[Slot]:
    """This machine's slots for a study, see `slots_of`; `wanted` overrides the number that the study requests.

    Raises:
        SpecError: more slots are requested than there are.
    """
    try:
        return slots_of(spec.resources, wanted=wanted, also_held=also_held)
    except SpecError as error:
        raise (source.place("resources", error) if wanted is None else error) from None


def try_one_batch(
    prepared: PreparedStudy,
    *,
    slot: Slot,
    weights: Weights | None = None,
    params: Mapping[str, Any] | None = None,
    what: str = "one batch",
    more: Mapping[str, Any] | None = None,
    is_timed: bool = False,
) -> Probe:
    """Train and validate a configuration on one batch as trials do, on all ranks, until the objective is logged.

    Args:
        weights: the checkpoints that `find_weights` found for the study.
        params: the searched parameters; by default, their defaults.
        what: is tried, to be named in errors.
        more: that its configuration has, besides that of a trial of a search.
        is_timed: train some more batches, for a few seconds, to time them.

    Raises:
        SpecError: it fails or takes too long, or the objective's metric is not among what the model logs in its first
            epochs.
    """
    resolved, spec = prepared.resolved, prepared.resolved.spec
    params = resolved.space.defaults() if params is None else params
    length = min(spec.max_epochs, MOST_REPORTS) if spec.unit == Unit.EPOCH else spec.max_epochs
    config: Mapping[str, Any] = {
        **resolved.sections(params),
        spec.unit.plural: length,
        "seed": derive_seed(spec.seed, 0, "trial"),
        "weights": weights or {},
        **spec.judged_by,
        **(more or {}),
    }
    # That a loss does not depend on a parameter is noticed at the second step, perhaps of the second epoch.
    least = 1 if slot.ranks == 1 else 2
    # For what the model's own callbacks write, and for the ranks to meet.
    with tempfile.TemporaryDirectory(prefix="hpo-", ignore_cleanup_errors=True) as folder:
        jobs = trial_jobs(
            resolved,
            config,
            trial=0,
            slot=slot,
            project=prepared.project,
            directory=None,
            batches=TIMED_BATCHES if is_timed else least,
            root=Path(folder),
            is_tracked=True,
        )
        probing = _Probing(
            prepared, params=params, what=what, length=length, least_reports=TIMED_EPOCHS if is_timed else least
        )
        processes = [prepared.server.fork(job) for job in jobs]
        try:
            return probing.result(processes)
        finally:
            for process in processes:
                process.kill()
                process.channel.close()


class _Probing:
    """The processes of one batch, until the first of them fails or rank 0 has ended, with the objective reported."""

    def __init__(
        self, prepared: PreparedStudy, *, params: Mapping[str, Any], what: str, length: int, least_reports: int
    ) -> None:
        self._prepared = prepared
        self._params = params
        self._what = what
        self._spec = prepared.spec
        self._length = length
        self._least_reports = least_reports
        self._reports = 0
        self._measured: list[Measured] = []
        self._probe: Probe | None = None  # once the objective is reported: what ends an epoch may still fail
        self._done: list[ForkedProcess] = []
        self._started = time.monotonic()
        self._seconds_to_training = 0.0
        self._parameters = 0
        self._inference_ms: float | None = None
        self._logged: set[str] = set()  # names of metrics
        self._is_judged = False
        budget = self._spec.budget
        self._minutes = budget.stall_minutes if "stall_minutes" in budget.model_fields_set else MOST_MINUTES
        self._deadline = self._started + 60 * self._minutes
        self._lost: Failed | None = None  # of a rank whose neighbour has gone, which may still say why

    def result(self, processes: Sequence[ForkedProcess]) -> Probe:
        """What the batch showed.

        Raises:
            SpecError: it failed, or took too long.
        """
        with selectors.DefaultSelector() as selector:
            for process in processes:
                selector.register(process.channel, selectors.EVENT_READ, process)
            while ready := selector.select(self._deadline - time.monotonic()):
                for key, _ in ready:
                    probe = self._take_messages(key.data, is_first=key.data is processes[0])
                    if probe is not None:
                        return probe
                    if key.data in self._done:  # another rank, which may end before rank 0 does
                        selector.unregister(key.fileobj)
        if self._lost is not None:
            raise self._prepared.source.error([_blame(self._lost, self._spec, self._what)])
        raise self._error(
            "model",
            f"{self._what} has taken longer than {self._minutes:g} minutes. Where the first batch takes so long, allow "
            "more with budget: {stall_minutes: ...}",
        )

    def _take_messages(self, process: ForkedProcess, *, is_first: bool) -> Probe | None:
        messages, is_open = process.channel.receive_ready()
        if process.channel.garbled is not None:
            raise self._error("model", f"{self._what} failed: its process sent {process.channel.garbled}")
        for message in messages:
            try:
                report = read_report(message)
            except InvalidMessageError as error:
                raise self._error("model", f"{self._what} failed: its process sent {error}") from error
            probe = self._take(report, process, is_first=is_first)
            if probe is not None:
                return probe
        if not is_open and process not in self._done:
            end = self._prepared.server.end_of(process)
            raise self._error("model", f"the process that tried {self._what} exited without reporting{end}")
        return None

    def _take(self, report: Report, process: ForkedProcess, *, is_first: bool) -> Probe | None:
        match report:
            case Started():
                self._parameters = report.parameters
                for warning in report.warnings:  # of what the data module left out, for instance
                    log.warning("%s", warning)
            case Warned(text=text):
                log.warning("%s: %s", self._spec.model_in_words, text)
            case Failed(cause=cause) if cause == LOST_RANK and self._lost is None:
                self._lost = report
                self._done.append(process)
                self._deadline = min(self._deadline, time.monotonic() + SECONDS_FOR_THE_CAUSE)
            case Failed():
                raise self._prepared.source.error([_blame(report, self._spec, self._what)])
            case Done() if is_first and self._probe is None:
                raise self._error("data", f"{self._spec.data.label} gave no batches to train on")
            case Done() if is_first:
                return self._probe
            case Done():
                self._done.append(process)
            case Training():
                self._seconds_to_training = time.monotonic() - self._started
            case Probed(inference_ms=found):
                self._inference_ms = found or self._inference_ms
                process.channel.send(message_of(Answer()))
            case Measured():
                self._measured.append(report)
            case Epoch():
                self._reports += 1
                self._logged |= report.metrics.keys()
                self._is_judged = self._is_judged or report.is_judged
                is_last = not self._continues(report)
                if is_last:
                    self._probe = self._probe_of(report)
                process.channel.send(message_of(Answer(stop=is_last)))
        return None

    def _continues(self, report: Epoch) -> bool:
        if report.epoch >= self._length:
            return False
        if not self._is_judged or self._not_logged():
            return self._reports < MOST_REPORTS
        return self._reports < self._least_reports and report.seconds < MOST_SECONDS_FOR_TIMING

    def _not_logged(self) -> list[tuple[KeyPath, str]]:
        """The constraints on metrics that the model has not logged, and what is wrong with each."""
        found: list[tuple[KeyPath, str]] = []
        for place, one in enumerate(self._spec.limits_of_trials):
            if one.name in UNITS or one.name in self._logged:
                continue
            hint = nearest(one.name, [*UNITS, *self._logged]) or "."
            text = (
                f"'{one.name}' is neither measured nor logged by the model{hint} Measured are {', '.join(UNITS)}; "
                f"it has logged {', '.join(sorted(self._logged))}"
            )
            found.append((("constraints", place), text))
        return found

    def _probe_of(self, report: Epoch) -> Probe:
        spec = self._spec
        if self._is_judged and (problems := self._not_logged()):
            raise self._prepared.source.error(problems)
        if not self._is_judged:
            where = f"{self._reports} validations" if spec.unit == Unit.STEP else spec.unit.counted(report.epoch)
            raise self._error("objective", never_logged(spec.objectives.metrics, report.metrics, after=where))
        if report.is_judged and report.value is None:
            lacking = (metric for metric in spec.objectives.metrics if metric not in report.metrics)
            metric = next(lacking, spec.objective.metric)
            log.warning("%s was not a finite number after one batch with the defaults", metric)
        return Probe(
            metrics=tuple(sorted(self._logged)),
            parameters=self._parameters,
            params=self._params,
            seconds_to_training=self._seconds_to_training,
            measured=tuple(self._measured),
            memory=report.memory,
            inference_ms=self._inference_ms,
        )

    def _error(self, section: str, reason: str) -> SpecError:
        return self._prepared.source.error([((section,), reason)])


def _blame(report: Failed, spec: StudySpec, what: str) -> tuple[KeyPath, str]:
    """The part of the study file that is to blame for a failed batch, and why."""
    match report.cause:
        case "error: ExecutorError":
            return ("executor",), report.reason
        case "error: LoggerError":
            return ("track" if report.owner == "track" else "logger",), report.reason
        case "error: SpecError":
            return ("constraints" if report.owner == "constraints" else "objective",), report.reason
        case _:
            owner, *place = report.owner.split(".")
            reason = report.reason.removeprefix(f"{'.'.join(place)}: ") if place else report.reason
            advice = next((words for token, words in ADVICE.items() if token in reason), "")
            # An argument that is searched stands in `space:`.
            is_searched = bool(place) and place[0] in spec.space
            return ("space" if is_searched else owner, *place), f"{what} failed: {reason}{advice}"
