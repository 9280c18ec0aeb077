"""Starting from another trial's weights: an argument `trial:STUDY/best` of a study stands for that trial's checkpoint.

The study keeps the words, so that the same file remains the same study. Whoever starts a trial looks the file up in
the store, since a trial process cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpo.errors import SpecError, StoreError
from hpo.results.study import Study
from hpo.space import Choice
from hpo.store import Store
from hpo.study.resolved_study import OWNERS, ResolvedStudy
from hpo.study.study_file import KeyPath, Source

PREFIX = "trial:"

Weights = dict[str, dict[str, Any]]
"""By the study's words: the trial's number ('trial') and its file on this machine ('checkpoint')."""


def find_weights(store: Store, definition: ResolvedStudy, source: Source | None = None) -> Weights:
    """The checkpoint of every trial that the study's arguments name.

    Args:
        source: where the study's words stand, to be named in an error.

    Raises:
        SpecError: a study, a trial or its checkpoint is not there.
    """
    found: Weights = {}
    for path, words in _references(definition):
        try:
            found[words] = _find(store, words)
        except SpecError as error:
            raise (source or Source.of_stored(definition.spec.study)).error([(path, str(error))]) from error
    return found


def names_weights(definition: ResolvedStudy) -> bool:
    """Whether any argument of the study names another trial."""
    return any(_references(definition))


def with_checkpoints(arguments: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """A constructor's arguments with files in place of the words."""
    return {
        name: weights[value]["checkpoint"] if isinstance(value, str) and value in weights else value
        for name, value in arguments.items()
    }


def _references(definition: ResolvedStudy) -> Iterator[tuple[KeyPath, str]]:
    """Where the study says it, and what."""
    given = definition.spec.space
    for owner in OWNERS:
        for name, value in definition.fixed[owner].items():
            if isinstance(value, str) and value.startswith(PREFIX):
                yield ("space", name) if name in given else (owner, name), value
    for parameter in definition.space.values():
        choices = parameter.range.choices if isinstance(parameter.range, Choice) else ()
        for choice in choices:
            if isinstance(choice, str) and choice.startswith(PREFIX):
                yield ("space", parameter.name), choice


def _find(store: Store, words: str) -> dict[str, Any]:
    name, slash, which = words.removeprefix(PREFIX).rpartition("/")
    if not slash or not (which == "best" or which.isdecimal()):
        raise SpecError(f"'{words}' should be {PREFIX}STUDY/best, or {PREFIX}STUDY/NUMBER of one of its trials")
    try:
        study = Study(store, name)
    except StoreError as error:
        raise SpecError(f"'{words}': {error} Search that study first, with the same --store") from error
    if which == "best":
        record = next(iter(study.best(1)), None)
        if record is None:
            raise SpecError(f"'{words}': study '{name}' has no complete trial yet")
    else:
        record = study.trial(int(which))
        if record is None:
            raise SpecError(f"'{words}': study '{name}' has no trial {which}")
    if record.checkpoint is None:
        raise SpecError(
            f"'{words}': trial {record.number} of study '{name}' ({record.state}) has no checkpoint: a study keeps "
            "those of its best trials (keep: {checkpoints: 5} in its file)"
        )
    if not Path(record.checkpoint).is_file():
        raise SpecError(
            f"'{words}': the checkpoint of trial {record.number} of study '{name}', {record.checkpoint}, is not on "
            "this machine: checkpoints stay on the machine that trained them"
        )
    return {"trial": record.number, "checkpoint": str(Path(record.checkpoint).absolute())}
