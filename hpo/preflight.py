"""Before the first trial: import the study's classes, resolve its space, try one batch, so that mistakes show now."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.channel import ChannelClosedError, GarbledError
from hpo.definition import Definition, resolve
from hpo.devices import Slot, slots_of
from hpo.errors import HpoError, LoadError, SpecError
from hpo.messages import problem_of
from hpo.processes import ForkServer, study_job
from hpo.search.algorithms import derive_seed, make_pruner, sampler_factory
from hpo.search.grid import check_grid
from hpo.spec import StudySpec
from hpo.studyfile import Source
from hpo.weights import Weights
from hpo.worker.runningtrial import trial_jobs

log = logging.getLogger(__name__)


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


def define(spec: StudySpec, source: Source, *, server: ForkServer, project: Path) -> tuple[Definition, ForkServer]:
    """Resolve the study against its classes; also the server that has them imported.

    Raises:
        HpoError: a class that cannot be imported, a name that nothing claims, an option that is not known, ...
    """
    job = study_job(project, {"model": spec.model.label, "data": spec.data.label})
    try:
        study_server, classes = server.serve_study(job)
    except (LoadError, SpecError) as error:
        is_data = str(error).startswith((f"{spec.data.label}:", f"{spec.data.label} "))
        raise source.place("data" if is_data else "model", error) from error
    try:
        definition = resolve(spec, classes, source)
        _check_algorithms(definition, source, project)
    except HpoError:
        if study_server is not server:
            study_server.stop()
        raise
    return definition, study_server


def _check_algorithms(definition: Definition, source: Source, project: Path) -> None:
    spec = definition.spec
    try:
        sampler_factory(spec, definition.space, project)
        if spec.sampler.name == "grid":
            check_grid(definition.space, trials=spec.budget.trials)
    except HpoError as error:
        raise source.place("sampler", error) from error
    try:
        make_pruner(spec, project)
    except HpoError as error:
        raise source.place("pruner", error) from error


def slots_for(spec: StudySpec, source: Source, *, wanted: int | None = None) -> list[Slot]:
    """This machine's slots for a study; `wanted` overrides the number that the study asks for.

    Raises:
        SpecError: more is asked for than there is.
    """
    try:
        return slots_of(spec.resources, wanted=wanted)
    except SpecError as error:
        raise (source.place("resources", error) if wanted is None else error) from None


def try_one_batch(
    definition: Definition,
    source: Source,
    *,
    server: ForkServer,
    project: Path,
    slot: Slot,
    weights: Weights | None = None,
) -> Probe:
    """Train and validate the default configuration on one batch.

    Args:
        weights: the checkpoints that `find_weights` found for the study.

    Raises:
        SpecError: it fails, or the objective's metric is not among what the model logs.
    """
    started = time.monotonic()
    params = definition.space.defaults()
    spec = definition.spec
    config: Mapping[str, Any] = {
        "model": {"class": spec.model.label, **definition.arguments("model", params)},
        "data": {"class": spec.data.label, **definition.arguments("data", params)},
        "epochs": 1,
        "seed": derive_seed(spec.seed, 0, "trial"),
        "weights": weights or {},
    }
    one_rank = dataclasses.replace(slot, ranks=1, devices=slot.devices[:1])
    [job] = trial_jobs(definition, config, trial=0, slot=one_rank, project=project, directory=None, batches=1)
    # For what the model's own callbacks write.
    folder = tempfile.TemporaryDirectory(prefix="hpo-", ignore_cleanup_errors=True)
    process = server.fork({**job, "root": folder.name})
    parameters = 0
    try:
        while True:
            message = process.channel.receive()
            if problem := problem_of(message):
                raise source.error([(("model",), f"one batch failed: its process told {problem}")])
            if message["kind"] == "started":
                parameters = message["parameters"]
                for warning in message["warnings"]:  # of what the data module left out, for instance
                    log.warning("%s", warning)
            elif message["kind"] == "failed":
                reason = message["reason"]
                if message["cause"] == "error: ExecutorError":
                    raise source.error([(("executor",), reason)])
                if message["cause"] == "error: SpecError":
                    raise source.error([(("objective",), reason)])
                raise source.error([((message["owner"],), f"one batch failed: {reason}")])
            elif message["kind"] == "done":
                raise source.error([(("data",), f"{spec.data.label} gave no batches to train on")])
            elif message["kind"] == "epoch":
                if message["value"] is None:
                    log.warning("%s was not a finite number after one batch with the defaults", spec.goal.metric)
                return Probe(tuple(sorted(message["metrics"])), parameters, time.monotonic() - started)
    except GarbledError as error:
        raise source.error([(("model",), f"one batch failed: its process told {error}")]) from error
    except ChannelClosedError as error:
        end = server.end_of(process)
        raise source.error([(("model",), f"the process that tried one batch ended without a word{end}")]) from error
    finally:
        process.kill()
        process.channel.close()
        folder.cleanup()
