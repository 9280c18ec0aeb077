"""The keywords of Lightning's Trainer for a trial: its length, and what a study file's `trainer:` section gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hpo.study.job import TrialJob
from hpo.study.length import Unit
from hpo.training.build import built

VALIDATION_BATCHES = 4  # of a validation, when a configuration is tried out
FEW_BATCHES = 2


def trainer_options(job: TrialJob) -> dict[str, Any]:
    """Keywords for the Trainer.

    A job that only tries a few batches validates after them, whatever the section says.

    Raises:
        LoadError: a callback's class cannot be imported, or does not take its arguments.
    """
    options = {name: value for name, value in job.trainer.items() if name != "callbacks"} | _length(job)
    if job.batches is not None:
        options = {name: value for name, value in options.items() if not name.startswith(("val_check", "check_val"))}
        options["limit_val_batches"] = min(job.batches, VALIDATION_BATCHES)
        # Of more, `Measure` ends the epoch: Lightning does not validate after an iterable with less than its limit.
        if job.batches <= FEW_BATCHES:
            options["limit_train_batches"] = job.batches
    project = Path(job.project)
    return options | {"callbacks": built(job.trainer.get("callbacks", []), project, where="callbacks")}


def _length(job: TrialJob) -> dict[str, Any]:
    if job.unit == Unit.EPOCH:
        return {"max_epochs": job.epochs}
    # The Trainer's steps are the optimizer's, which schedules of the learning rate count as well.
    return {"max_epochs": -1, "max_steps": math.ceil(job.epochs / job.trainer.get("accumulate_grad_batches", 1))}
