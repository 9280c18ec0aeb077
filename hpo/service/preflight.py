"""Before the first trial: find the machine's slots and try one batch, so that mistakes show now."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.ipc.channel import ChannelClosedError, GarbledError
from hpo.ipc.incoming import InvalidMessageError, read_report
from hpo.ipc.messages import Answer, Done, Epoch, Failed, Started, message_of
from hpo.results.warm_start import Weights
from hpo.search.algorithms import derive_seed
from hpo.service.prepare import PreparedStudy
from hpo.study.devices import Slot, slots_of
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath, Source
from hpo.worker.jobs import trial_jobs
from hpo.worker.trial_report import never_logged

log = logging.getLogger(__name__)

# A metric need not be logged in each epoch; that of every tenth epoch is found.
MOST_EPOCHS = 10


@dataclass(frozen=True)
class Probe:
    """What one batch through the default configuration showed.

    Attributes:
        metrics: names that the model logs.
        parameters: of the model.
        seconds: from the start of the process to the end of the batch.
    """

    metrics: tuple[str, ...]
    parameters: int
    seconds: float


def slots_for(spec: StudySpec, source: Source, *, wanted: int | None = None) -> list[Slot]:
    """This machine's slots for a study; `wanted` overrides the number that the study requests.

    Raises:
        SpecError: more slots are requested than there are.
    """
    try:
        return slots_of(spec.resources, wanted=wanted)
    except SpecError as error:
        raise (source.place("resources", error) if wanted is None else error) from None


def try_one_batch(prepared: PreparedStudy, *, slot: Slot, weights: Weights | None = None) -> Probe:
    """Train and validate the default configuration on one batch, until the objective is logged.

    Args:
        weights: the checkpoints that `find_weights` found for the study.

    Raises:
        SpecError: it fails, or the objective's metric is not among what the model logs in its first epochs.
    """
    started = time.monotonic()
    resolved, source, server = prepared.resolved, prepared.source, prepared.server
    params = resolved.space.defaults()
    spec = resolved.spec
    config: Mapping[str, Any] = {
        "model": {"class": spec.model.label, **resolved.arguments("model", params)},
        "data": {"class": spec.data.label, **resolved.arguments("data", params)},
        "epochs": min(spec.max_epochs, MOST_EPOCHS),
        "seed": derive_seed(spec.seed, 0, "trial"),
        "weights": weights or {},
    }
    one_rank = dataclasses.replace(slot, ranks=1, devices=slot.devices[:1])
    # For what the model's own callbacks write.
    folder = tempfile.TemporaryDirectory(prefix="hpo-", ignore_cleanup_errors=True)
    [job] = trial_jobs(
        resolved,
        config,
        trial=0,
        slot=one_rank,
        project=prepared.project,
        directory=None,
        batches=1,
        root=Path(folder.name),
    )
    process = server.fork(job)
    parameters = 0
    try:
        while True:
            match read_report(process.channel.receive()):
                case Started() as report:
                    parameters = report.parameters
                    for warning in report.warnings:  # of what the data module left out, for instance
                        log.warning("%s", warning)
                case Failed() as report:
                    raise source.error([_blame(report, spec)])
                case Done():
                    raise source.error([(("data",), f"{spec.data.label} gave no batches to train on")])
                case Epoch(is_judged=False) as report if report.epoch < config["epochs"]:
                    process.channel.send(message_of(Answer()))
                case Epoch(is_judged=False) as report:
                    reason = never_logged(spec.objective.metric, report.metrics, epochs=report.epoch)
                    raise source.error([(("objective",), reason)])
                case Epoch(value=value, metrics=metrics):
                    if value is None:
                        metric = spec.objective.metric
                        log.warning("%s was not a finite number after one batch with the defaults", metric)
                    return Probe(tuple(sorted(metrics)), parameters, time.monotonic() - started)
    except (GarbledError, InvalidMessageError) as error:
        raise source.error([(("model",), f"one batch failed: its process sent {error}")]) from error
    except ChannelClosedError as error:
        end = server.end_of(process)
        raise source.error([(("model",), f"the process that tried one batch exited without reporting{end}")]) from error
    finally:
        process.kill()
        process.channel.close()
        folder.cleanup()


def _blame(report: Failed, spec: StudySpec) -> tuple[KeyPath, str]:
    """The part of the study file that is to blame for a failed batch, and why."""
    match report.cause:
        case "error: ExecutorError":
            return ("executor",), report.reason
        case "error: SpecError":
            return ("objective",), report.reason
        case _:
            owner, *place = report.owner.split(".")
            reason = report.reason.removeprefix(f"{'.'.join(place)}: ") if place else report.reason
            # An argument that is searched stands in `space:`.
            is_searched = bool(place) and place[0] in spec.space
            return ("space" if is_searched else owner, *place), f"one batch failed: {reason}"
