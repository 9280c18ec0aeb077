"""Another name for a study, in Optuna's table, in our stored study file, and in the paths of its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from hpo.errors import StoreError
from hpo.store.tables import hpo_findings, hpo_studies, hpo_trials, studies, trials
from hpo.study.object_store import address_of, local_path

_NAMES = {"study", "reruns_study"}  # keys of findings whose values are names of studies


def rename_rows(connection: Connection, study_id: int, new: str) -> None:
    """Give the study another name, which is valid, within a transaction that has locked it.

    Raises:
        StoreError: the store has a study of that name.
    """
    taken = StoreError(f"the store has a study '{new}' already: choose another name")
    if connection.scalar(select(studies.c.study_id).where(studies.c.study_name == new)) is not None:
        raise taken
    mine = hpo_studies.c.study_id == study_id
    plain = json.loads(connection.scalar(select(hpo_studies.c.spec).where(mine)) or "{}")
    old, plain["spec"]["study"] = plain["spec"]["study"], new
    try:
        connection.execute(update(studies).where(studies.c.study_id == study_id).values(study_name=new))
    except IntegrityError:  # created between our look and our change
        raise taken from None
    connection.execute(update(hpo_studies).where(mine).values(spec=json.dumps(plain)))
    _rename_in_findings(connection, study_id, old, new)


def _rename_in_findings(connection: Connection, study_id: int, old: str, new: str) -> None:
    """What was found out names the study: of a search, and of the search whose trials this one trains again."""
    parent = select(hpo_studies.c.parent_id).where(hpo_studies.c.study_id == study_id)
    is_told = hpo_findings.c.study_id.in_([study_id]) | hpo_findings.c.study_id.in_(parent)
    for row in connection.execute(select(hpo_findings.c.finding_id, hpo_findings.c.content).where(is_told)).all():
        content = json.dumps(renamed(json.loads(row.content), {old: new}))
        if content != row.content:
            mine = hpo_findings.c.finding_id == row.finding_id
            connection.execute(update(hpo_findings).where(mine).values(content=content))


def renamed(content: Any, names: Mapping[str, str]) -> Any:
    """A finding with other names for its studies: by their names before."""
    if isinstance(content, list):
        return [renamed(item, names) for item in content]
    if isinstance(content, dict):
        return {
            key: names.get(item, item) if key in _NAMES and isinstance(item, str) else renamed(item, names)
            for key, item in content.items()
        }
    return content


def named_checkpoints(connection: Connection, study_id: int) -> dict[int, Path]:
    """By trial_id, the checkpoint files that the store names for the study."""
    rows = connection.execute(
        select(hpo_trials.c.trial_id, hpo_trials.c.checkpoint)
        .join(trials, trials.c.trial_id == hpo_trials.c.trial_id)
        .where(trials.c.study_id == study_id, hpo_trials.c.checkpoint.is_not(None))
    )
    return {row.trial_id: local_path(row.checkpoint) for row in rows}


def move_checkpoints(connection: Connection, paths: Mapping[int, Path]) -> None:
    """Note where the checkpoints of these trials are now, by trial_id."""
    for trial_id, path in paths.items():
        connection.execute(
            update(hpo_trials).where(hpo_trials.c.trial_id == trial_id).values(checkpoint=address_of(path))
        )


def referring_studies(connection: Connection, name: str) -> Sequence[str]:
    """The other studies whose arguments name weights of this one: `trial:NAME/best`."""
    words = json.dumps(f"trial:{name}/")[1:-1]
    says_so = hpo_studies.c.spec.contains(words, autoescape=True) | hpo_studies.c.space.contains(words, autoescape=True)
    return connection.scalars(
        select(studies.c.study_name)
        .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
        .where(studies.c.study_name != name, says_so)
        .order_by(studies.c.study_id)
    ).all()
