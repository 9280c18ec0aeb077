"""The options of Lightning's Trainer that a study file's `trainer:` section gives, with its callbacks built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo.study.job import TrialJob
from hpo.training.build import built


def trainer_options(job: TrialJob) -> dict[str, Any]:
    """Keywords for the Trainer.

    A job that only tries a few batches validates after them, whatever the section says.

    Raises:
        LoadError: a callback's class cannot be imported, or does not take its arguments.
    """
    options = {name: value for name, value in job.trainer.items() if name != "callbacks"}
    if job.batches is not None:
        options = {name: value for name, value in options.items() if not name.startswith(("val_check", "check_val"))}
        options |= {"limit_train_batches": job.batches, "limit_val_batches": job.batches}
    project = Path(job.project)
    return options | {"callbacks": built(job.trainer.get("callbacks", []), project, where="callbacks")}
