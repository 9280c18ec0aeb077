"""Warm start from another trial's weights: an argument `trial:STUDY/best` stands for that trial's checkpoint.

The study stores this reference, so that the same file remains the same study. The worker looks the checkpoint up in the
store when it starts a trial, since a trial process has no access to the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpo.errors import HpoError, SpecError, StoreError
from hpo.results.study import Study
from hpo.space import Choice
from hpo.store import Store
from hpo.study.resolved_study import OWNERS, ResolvedStudy
from hpo.study.study_file import KeyPath, Source

PREFIX = "trial:"

Weights = dict[str, dict[str, Any]]
"""By reference: the trial's number ('trial') and its file on this machine ('checkpoint')."""


def find_weights(store: Store, resolved: ResolvedStudy, source: Source | None = None) -> Weights:
    """The checkpoint of every trial that the study's arguments name.

    Args:
        source: the study file, for the line numbers of errors.

    Raises:
        SpecError: a study, a trial or its checkpoint does not exist.
    """
    found: Weights = {}
    for path, reference in _references(resolved):
        try:
            found[reference] = _find(store, reference)
        except SpecError as error:
            raise (source or Source.of_stored(resolved.spec.study)).error([(path, str(error))]) from error
    return found


def names_weights(resolved: ResolvedStudy) -> bool:
    """Whether any argument of the study refers to another trial."""
    return any(_references(resolved))


def with_checkpoints(arguments: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """A constructor's arguments with files in place of the references."""
    return {name: _with_checkpoints(value, weights) for name, value in arguments.items()}


def refers(value: Any, weights: Mapping[str, Any]) -> bool:
    """Whether an argument, or a part of it, is a reference to another trial's weights."""
    if isinstance(value, dict | list):
        return any(refers(item, weights) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and value in weights


def _with_checkpoints(value: Any, weights: Weights) -> Any:
    if isinstance(value, dict):
        return {key: _with_checkpoints(item, weights) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_checkpoints(item, weights) for item in value]
    return weights[value]["checkpoint"] if isinstance(value, str) and value in weights else value


def _references(resolved: ResolvedStudy) -> Iterator[tuple[KeyPath, str]]:
    """(path in the study file, reference) of each."""
    given = resolved.spec.space
    for owner in OWNERS:
        for name, value in resolved.fixed[owner].items():
            for reference in _references_in(value):
                yield ("space", name) if name in given else (owner, name), reference
    for place, one in enumerate(resolved.alternatives):
        for name, value in one.fixed.items():
            for reference in _references_in(value):
                yield ("space", name) if name in given else ("model", place, name), reference
    for parameter in resolved.space.values():
        choices = parameter.range.choices if isinstance(parameter.range, Choice) else ()
        for reference in _references_in(list(choices)):
            yield ("space", parameter.name), reference


def _references_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references_in(item)
    elif isinstance(value, str) and value.startswith(PREFIX):
        yield value


def _find(store: Store, reference: str) -> dict[str, Any]:
    name, slash, which = reference.removeprefix(PREFIX).rpartition("/")
    if not slash or not (which == "best" or which.isdecimal()):
        raise SpecError(f"'{reference}' should be {PREFIX}STUDY/best, or {PREFIX}STUDY/NUMBER of one of its trials")
    try:
        study = Study(store, name)
    except StoreError as error:
        raise SpecError(f"'{reference}': {error} Search that study first, with the same --store") from error
    if which == "best":
        record = next(iter(study.best(1)), None)
        if record is None:
            raise SpecError(f"'{reference}': study '{name}' has no complete trial yet")
    else:
        record = study.trial(int(which))
        if record is None:
            raise SpecError(f"'{reference}': study '{name}' has no trial {which}")
    if record.checkpoint is None:
        raise SpecError(
            f"'{reference}': trial {record.number} of study '{name}' ({record.state}) has no checkpoint: a study keeps "
            "those of its best trials (keep: {checkpoints: 5} in its file)"
        )
    try:
        path = record.kept_checkpoint()
    except HpoError as error:
        raise SpecError(f"'{reference}': {error}") from error
    if not path.is_file():
        raise SpecError(
            f"'{reference}': the checkpoint of trial {record.number} of study '{name}', {record.checkpoint}, is not on "
            "this machine: checkpoints stay on the machine that trained them"
        )
    return {"trial": record.number, "checkpoint": str(path.absolute())}
