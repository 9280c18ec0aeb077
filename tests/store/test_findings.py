"""What was found out about a study is kept in its store, until the study is deleted."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from projects.synthetic import create_study
from sqlalchemy.exc import IntegrityError

from hpo.queue.findings import add_finding, findings_of
from hpo.queue.studies import StoredStudy
from hpo.service.delete import delete_study
from hpo.store import Store


def test_findings_are_read_in_the_order_in_which_they_were_made(store: Store, study: StoredStudy) -> None:
    other = create_study(store, study="other")
    with store.write() as connection:
        ids = [
            add_finding(connection, study.study_id, kind, {"number": number, "of": ["ä", None, 0.1]})
            for number, kind in enumerate(["replay", "test", "replay"])
        ]
        add_finding(connection, other.study_id, "replay", {})

    with store.read() as connection:
        found = findings_of(connection, study.study_id)
        replays = findings_of(connection, study.study_id, "replay")

    assert [finding.finding_id for finding in found] == sorted(ids) == ids
    assert [finding.content for finding in found] == [{"number": n, "of": ["ä", None, 0.1]} for n in range(3)]
    assert [finding.content["number"] for finding in replays] == [0, 2]
    assert abs((datetime.now(UTC) - found[0].created).total_seconds()) < 60
    assert found[1].to_json()["kind"] == "test"


def test_a_finding_that_is_not_json_or_of_no_study_is_refused(store: Store, study: StoredStudy) -> None:
    with store.write() as connection, pytest.raises(ValueError, match="JSON"):
        add_finding(connection, study.study_id, "test", {"accuracy": math.nan})
    with pytest.raises(IntegrityError), store.write() as connection:
        add_finding(connection, study.study_id + 1, "test", {})

    with store.read() as connection:
        assert findings_of(connection, study.study_id) == []


def test_a_deleted_study_leaves_no_finding_to_the_next(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    with store.write() as connection:
        add_finding(connection, study.study_id, "replay", {})

    delete_study(store, study.name, artifacts=tmp_path)

    with store.read() as connection:
        assert findings_of(connection, study.study_id) == []
