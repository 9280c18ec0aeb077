"""Reads the arguments and search spaces of a study's classes, in a process that imports them; the worker never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule

from hpo.errors import HpoError, LoadError, nearest
from hpo.ipc.channel import Message
from hpo.loading import load_class
from hpo.space import Owner, takes_any_name
from hpo.space.constructor import declared_of
from hpo.space.description import description_of
from hpo.study.by_value import is_by_value, unpack
from hpo.study.fingerprints import code_fingerprints, library_versions
from hpo.study.job import OWN_LOADERS, NestedObject, StudyJob

BASES: dict[str, type[Any]] = {"model": LightningModule, "data": LightningDataModule}


def describe(job: StudyJob) -> Message:
    """For each class of the job, by its owner's name (model, data): the arguments and the search space, as plain data.

    The answer is `{"classes": {owner: description}, "code": fingerprints, "libraries": versions}`, see
    `description_of`, `code_fingerprints` and `library_versions`, or `{"error": text}`, with a message for the user,
    when a class cannot be used.
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
            classes[role if owner == "any" else owner] = description_of(found, role)
            if role == "model" and job.classes.get("data") == OWN_LOADERS:
                _check_loaders(found, label)
        for nested in job.objects:
            _check_nested(nested, Path(job.project))
    except HpoError as error:
        return {"error": str(error), "kind": type(error).__name__}
    code = code_fingerprints(Path(job.project)) | job.by_value.get("sources", {})
    return {"classes": classes, "code": code, "libraries": library_versions(Path(job.project))}


def _check_loaders(found: type[Any], label: str) -> None:
    """For a study without data.

    Raises:
        LoadError: the model has no loaders either.
    """
    if getattr(found, "train_dataloader", None) is LightningModule.train_dataloader:
        raise LoadError(
            f"data: is missing, and {label} has no train_dataloader of its own: name a data module "
            "(data: package.module:Class)"
        )


def _check_nested(nested: NestedObject, project: Path) -> None:
    """Import the class of a nested object.

    Raises:
        LoadError: it cannot be imported, or its constructor takes no argument of one of the names.
    """
    place = ".".join(map(str, nested.path))
    try:
        found = load_class(nested.label, project)
        known = [declared.name for declared in declared_of(found)]
        takes_any = takes_any_name(found) or not known
    except HpoError as error:
        raise LoadError(f"{place}: {error}") from error
    except ValueError:  # written in C, without a signature
        return
    if nested.path[0] == "trainer" and not issubclass(found, Callback):
        raise LoadError(f"{place}: {nested.label} is not a Callback of pytorch_lightning")
    for name in nested.names:
        if name not in known and not takes_any:
            hint = nearest(name, known) or "."
            raise LoadError(f"{place}: {nested.label} takes no argument '{name}'{hint} It takes {', '.join(known)}")


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
