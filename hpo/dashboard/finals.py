"""The confusion matrix of a study's final model, which is a file of the trial that won."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from hpo.queue.findings import findings_of
from hpo.results.final import FINAL
from hpo.store.tables import hpo_findings


class Winners:
    """Which trials have won; read again when a study is finalized again."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[int, int | None]] = {}  # by study: the finding, and the trial

    def with_confusion(self, connection: Connection, study_id: int) -> int | None:
        """The number of the trial that won, if its final model has a confusion matrix."""
        is_final = (hpo_findings.c.study_id == study_id) & (hpo_findings.c.kind == FINAL)
        newest = connection.scalar(select(func.max(hpo_findings.c.finding_id)).where(is_final))
        if newest is None:
            return None
        if self._read.get(study_id, (0, None))[0] != newest:
            final = findings_of(connection, study_id, FINAL)[-1].content
            self._read[study_id] = (newest, final["winner"] if _evaluation(final).get("confusion") else None)
        return self._read[study_id][1]


def confusion_table(connection: Connection, study_id: int) -> str:
    """As CSV: a line for each true class, with the number of its samples by predicted class; empty without one."""
    found = findings_of(connection, study_id, FINAL)
    evaluation = _evaluation(found[-1].content) if found else {}
    counts = evaluation.get("confusion") or []
    classes = evaluation.get("classes") or [{"name": number} for number in range(len(counts))]
    names = [one["name"] for one in classes]
    text = io.StringIO()
    writer = csv.writer(text)
    if counts:
        writer.writerow([f"true, on the {evaluation['part']} part", *(f"predicted {name}" for name in names)])
        writer.writerows([name, *row] for name, row in zip(names, counts, strict=True))
    return text.getvalue()


def _evaluation(final: Mapping[str, Any]) -> Mapping[str, Any]:
    return final.get("test") or final.get("validation") or {}
