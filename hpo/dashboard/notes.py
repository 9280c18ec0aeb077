"""Notes of studies and trials, as optuna-dashboard shows them: what is searched, how far it is, why a trial waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from hpo.store.tables import hpo_studies
from hpo.study.limits import trials_in_words
from hpo.study.states import OptunaState, Request, StudyState


class StudyNotes:
    """Notes of studies, which are written again when a study's state or budget has changed.

    Attributes:
        page_of: the address of a study's page beside optuna-dashboard, where there is one.
    """

    def __init__(self) -> None:
        self.page_of: Callable[[str], str] | None = None
        self._written: dict[int, tuple[Any, str]] = {}  # what it was written from, and the note

    def read(self, connection: Connection, names: Mapping[int, str]) -> dict[int, str]:
        """The notes of our studies among these.

        Args:
            names: by id.
        """
        columns = hpo_studies.c
        short = select(columns.study_id, columns.created, columns.state, columns.state_reason, columns.trials_target)
        rows = connection.execute(short.add_columns(columns.limits)).all()
        known = {row.study_id: (*row, names[row.study_id]) for row in rows if row.study_id in names}
        for row in rows:
            study_id = row.study_id
            if study_id in known and self._written.get(study_id, (None, ""))[0] != known[study_id]:
                spec = connection.scalar(select(columns.spec).where(columns.study_id == study_id))
                if spec is not None:
                    self._written[study_id] = (known[study_id], self._note(names[study_id], row, spec))
        return {study_id: self._written[study_id][1] for study_id in known if study_id in self._written}

    def _note(self, name: str, row: Any, spec: str) -> str:
        link = "" if self.page_of is None else f"[what runs now]({self.page_of(name)}), "
        return _note_of_study(name, row, json.loads(spec), link)


def _note_of_study(name: str, row: Any, resolved: dict[str, Any], link: str) -> str:
    """A study in a few lines of Markdown, in which texts of its file are code."""
    spec = resolved["spec"]
    models = spec["model"] if isinstance(spec["model"], list) else [spec["model"]]
    objectives = [spec["objective"], *spec["objective"].get("further", [])]
    reason = f": {_code(row.state_reason)}" if row.state_reason else ""
    limits = [f"{limit} {value:g}" for limit, value in json.loads(row.limits).items() if value is not None]
    lines = [
        f"{' or '.join(_code(one['label']) for one in models)} on {_code(spec['data']['label'])}: "
        + ", ".join(f"{one['direction']} {_code(one['metric'])}" for one in objectives),
        *([f"subject to {', '.join(map(_code, spec['constraints']))}"] if spec.get("constraints") else []),
        *([] if row.state == StudyState.RUNNING else [row.state + reason]),  # so is one that has all its trials
        f"budget: {', '.join([trials_in_words(row.trials_target), *limits])}",
        f"more: {link}{_code(f'hpo status {name}')}, {_code(f'hpo report {name}')}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def note_of_trial(request: str | None, state: str) -> str:
    """Why a trial waits, in a sentence."""
    if state == OptunaState.WAITING:
        return "Enqueued: it waits for a worker."
    if request == Request.AWAIT_PROMOTION:
        return "Paused at a rung: it goes on if it is among the best there."
    if request == Request.PAUSE:
        return "Paused by request: `hpo resume STUDY TRIAL` lets it go on."
    return "No worker trains it at the moment: the next free one goes on with it."


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
