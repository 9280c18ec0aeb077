"""The earlier studies that a study starts from are read once, before it is created: `start_from: [NAME, NAME@URL]`."""

from __future__ import annotations

import math
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from hpo.errors import HpoError, SpecError
from hpo.queue.progress import find_study
from hpo.search import trial_rows
from hpo.search.prior import FinishedStudy, FinishedTrial, taken_over
from hpo.store import Store, StoreUrl
from hpo.store.tables import hpo_studies
from hpo.study.earlier import Earlier
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath, Source


def read_earlier(store: Store, resolved: ResolvedStudy, source: Source, *, project: Path) -> Earlier | None:
    """What the studies that a new study starts from know; None where it names none.

    Args:
        store: of the new study.
        project: folder that the paths of SQLite stores start from.

    Raises:
        SpecError: a study is not there, or none of its trials fits; all that is wrong, with file and line.
    """
    refuse_passwords(resolved.spec, source)
    studies, problems = [], list[tuple[KeyPath, str]]()
    for place, name in enumerate(resolved.spec.start_from):
        try:
            studies.append(_read(store, name, project))
        except HpoError as error:
            problems.append((("start_from", place), str(error)))
    if problems:
        raise source.error(problems)
    try:
        return taken_over(studies, resolved.space, resolved.constants) if studies else None
    except SpecError as error:
        raise source.error([(("start_from",), str(error))]) from error


def refuse_passwords(spec: StudySpec, source: Source) -> None:
    """Refuse names of earlier studies that hold a password, before anything is told of them.

    Raises:
        SpecError: names each by its place only.
    """
    text = (
        "a study file holds no password, since the store keeps it for everybody to read: write ?password_file=FILE "
        "behind the URL, or name the file in HPO_STORE_PASSWORD_FILE"
    )
    urls = [named.partition("@")[2] for named in spec.start_from]
    if problems := [(("start_from", place), text) for place, url in enumerate(urls) if _may_hold_password(url)]:
        raise source.error(problems)


def _may_hold_password(url: str) -> bool:
    if "://" not in url:
        return ":" in url or "@" in url
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        return True  # it may stand anywhere
    return found.password is not None or "password" in found.query or url.count("@") > 1


def _read(store: Store, named: str, project: Path) -> FinishedStudy:
    name, is_elsewhere, url = named.partition("@")
    if not is_elsewhere:
        return _finished(store, name, name)
    parsed = StoreUrl.parse(url, base=project)
    with Store.open(parsed) as other:
        return _finished(other, name, f"{name}@{parsed}")


def _finished(store: Store, name: str, shown: str) -> FinishedStudy:
    study_id, objectives = find_study(store, name)
    if objectives.are_several:
        raise SpecError(f"study '{name}' has several objectives: only one of a single objective can be started from")
    with store.read() as connection:
        rows = [
            row
            for row in trial_rows.changed(connection, study_id, known=0)
            if row.state in (TrialState.COMPLETE.name, TrialState.PRUNED.name) and row.before_change is None
        ]
        trials = [trial for _, trial in trial_rows.frozen(connection, rows, with_params=True)]
        ours = connection.execute(
            select(hpo_studies.c.spec, hpo_studies.c.space).where(hpo_studies.c.study_id == study_id)
        ).first()
    constants = {} if ours is None else ResolvedStudy.from_json(ours.spec, ours.space).constants
    return FinishedStudy(
        shown, objectives.first, [one for trial in trials if (one := _trial(trial)) is not None], constants
    )


def _trial(trial: FrozenTrial) -> FinishedTrial | None:
    """None of one without a value."""
    curve = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if any(violation > 0 for violation in trial.constraints.values()) or not (curve or value is not None):
        return None
    return FinishedTrial(trial.params, curve, None if value is None or not math.isfinite(value) else value)
