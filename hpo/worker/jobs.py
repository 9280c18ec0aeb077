"""The jobs of a trial's processes: one for each rank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.ipc.environment import credentials_of
from hpo.results.warm_start import with_checkpoints
from hpo.study.by_value import is_by_value
from hpo.study.constraints import refusing
from hpo.study.devices import Slot
from hpo.study.job import RESUME_CHECKPOINTS, Call, TrialJob
from hpo.study.length import Unit
from hpo.study.plan import TRAIN
from hpo.study.resolved_study import BATCH_SIZE, ResolvedStudy


def trial_jobs(
    resolved: ResolvedStudy,
    config: Mapping[str, Any],
    *,
    trial: int,
    slot: Slot,
    project: Path,
    directory: Path | None,
    attempt: int = 1,
    batches: int | None = None,
    root: Path | None = None,
    training: int = 1,
    is_tracked: bool = False,
) -> list[TrialJob]:
    """The job of each rank of a trial.

    Args:
        config: with `weights` where arguments name the checkpoints of other trials, and with `parts` where a batch is
            taken in so many, whose gradients are accumulated to one step.
        directory: for its log and checkpoints; None keeps nothing.
        attempt: from the second on, it resumes from the last checkpoint that can be read.
        batches: train and validate on only so many an epoch, to try the configuration out.
        training: the first of its trainings, on folds or with seeds, that has not ended.
        is_tracked: the trackers of the study are told of it.
        root: the folder that the logger and callbacks of the model write into; by default the directory.
    """
    spec, unit = resolved.spec, Unit.of(config)
    folder = root or directory
    # What a script's class leaves in its global variables, which are of no module, is not seen between trials.
    is_watched = not any(map(is_by_value, spec.classes.values()))
    return [
        TrialJob(
            trial=trial,
            study=spec.study,
            project=str(project),
            model=_call(config, "model"),
            data=_call(config, "data"),
            metric=spec.objective.metric,
            further=list(spec.objectives.further),
            epochs=config[unit.plural],
            unit=unit.value,
            trained_on=config.get("trained_on", TRAIN),
            training=training,
            trainings=trainings_of(config) if batches is None else 1,
            folds=config.get("folds", 0),
            seed=config["seed"],
            precision=spec.resources.precision,
            strategy=spec.resources.strategy,
            use_distributed_sampler=spec.resources.use_distributed_sampler,
            executor=spec.executor,
            cuda_graphs=spec.cuda_graphs,
            logger=spec.logger,
            track=list(spec.track) if is_tracked else [],
            credentials=credentials_of(spec.track) if is_tracked else {},
            accelerator=slot.accelerator,
            devices=list(slot.devices),
            threads=slot.threads,
            ranks=slot.ranks,
            rank=rank,
            rendezvous=str(folder / f"rendezvous-{attempt}") if folder else None,
            directory=str(directory) if directory else None,
            root=str(folder) if folder else None,
            resume=[str(directory / name) for name in RESUME_CHECKPOINTS] if directory and attempt > 1 else [],
            keeps_last=spec.keep.last and spec.keep.checkpoints > 0,
            batches=batches,
            probed=[one.name for one in refusing(spec.limits_of_trials)] if attempt == 1 else [],
            trainer=_accumulating(spec.trainer_options, config.get("parts", 1)),
            # a tracker leaves threads and connections behind
            is_reusable=spec.reuse_processes and slot.ranks == 1 and is_watched and not spec.track,
        )
        for rank in range(slot.ranks)
    ]


def trainings_of(config: Mapping[str, Any]) -> int:
    """How often a trial of this configuration is trained."""
    return int(config.get("folds") or config.get("repeats") or 1)


def _accumulating(options: dict[str, Any], parts: int) -> dict[str, Any]:
    if parts == 1:
        return options
    return options | {"accumulate_grad_batches": parts * options.get("accumulate_grad_batches", 1)}


def _call(config: Mapping[str, Any], owner: str) -> Call:
    arguments = {name: value for name, value in config[owner].items() if name != "class"}
    parts = config.get("parts", 1)
    if parts > 1 and isinstance(size := arguments.get(BATCH_SIZE), int):
        arguments[BATCH_SIZE] = max(1, size // parts)
    return Call(config[owner]["class"], with_checkpoints(arguments, config.get("weights", {})))
