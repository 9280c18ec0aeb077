"""Reads the arguments and search spaces of a study's classes, in a process that imports them; the worker never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule

from hpo.errors import HpoError, LoadError
from hpo.ipc.channel import Message
from hpo.loading import load_class
from hpo.space import Owner
from hpo.space.description import description_of
from hpo.study.by_value import is_by_value, unpack
from hpo.study.job import StudyJob

BASES: dict[str, type[Any]] = {"model": LightningModule, "data": LightningDataModule}


def describe(job: StudyJob) -> Message:
    """For each class of the job, by its owner's name (model, data): the arguments and the search space, as plain data.

    The answer is `{"classes": {owner: description}}`, see `description_of`, or `{"error": text}`, with a message
    for the user, when a class cannot be used.
    """
    classes: dict[str, Message] = {}
    try:
        if any(map(is_by_value, job.classes.values())):
            unpack(job.by_value)
        for owner, label in job.classes.items():
            found = load_class(label, Path(job.project))
            is_data = owner == "data" or (owner == "any" and issubclass(found, LightningDataModule))
            role: Owner = "data" if is_data else "model"
            _check_base(found, label, role)
            classes[role] = description_of(found, role)
    except HpoError as error:
        return {"error": str(error), "kind": type(error).__name__}
    return {"classes": classes}


def _check_base(found: type[Any], label: str, role: str) -> None:
    base = BASES[role]
    if issubclass(found, base):
        return
    twin = next((b for b in found.__mro__ if b.__name__ == base.__name__), None)
    if twin is not None:
        raise LoadError(
            f"{label} derives from {twin.__module__}.{twin.__name__}, but the Trainer here is pytorch_lightning's: "
            f"derive it from pytorch_lightning.{base.__name__}"
        )
    names = ", ".join(b.__name__ for b in found.__bases__ if b is not object) or "nothing"
    raise LoadError(f"{label} is not a {base.__name__}: it derives from {names}")
