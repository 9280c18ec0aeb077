"""Health and metrics: of the process, of the store, and while it is away."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from callers import client_of
from projects.synthetic import Claimant, begin_next, create_study
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert

from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_notifications, studies
from hpo.web.callers import Role
from hpo.web.metrics import MOST_STUDIES, OTHERS
from hpo.web.site import Site

LABELS = ("study", "state", "le")
ROOT = Path(__file__).parents[2]


def metrics(site: Site) -> dict[str, dict[tuple[str, ...], float]]:
    """The values of each metric by its labels."""
    site.login = False
    answer = client_of(site).get("/metrics")
    assert answer.status_code == 200
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels[name] for name in LABELS if name in sample.labels)] = sample.value
    return found


def test_metrics_are_those_of_the_store(site_of_each_database: Site) -> None:
    store = site_of_each_database.store
    study = create_study(store)
    worker = Claimant(store, study)
    assert worker.finish(begin_next(worker, 0.5), 0.5)
    begin_next(worker, 0.5)
    with store.write() as connection:
        connection.execute(
            insert(hpo_notifications).values(
                study_id=study.study_id, event="finished", occasion="1", content="{}", created=db_now()
            )
        )

    found = metrics(site_of_each_database)

    assert found["hpo_store_up"] == {(): 1.0}
    assert found["hpo_studies"] == {("running",): 1.0}
    assert found["hpo_trials"]["synthetic", "complete"] == 1.0
    assert found["hpo_trials"]["synthetic", "running"] == 1.0
    assert found["hpo_device_hours"]["synthetic",] == pytest.approx(2.5 / 3600, abs=0.01)
    assert (found["hpo_workers"][()], found["hpo_slots"][()], found["hpo_slots_busy"][()]) == (1.0, 1.0, 1.0)
    assert found["hpo_notifications_waiting"] == {(): 1.0}
    assert 0 <= found["hpo_seconds_since_last_end"][()] < 60
    assert found["hpo_store_statement_seconds_count"][()] > 0


def test_a_worker_that_is_lost_has_no_slots(site: Site) -> None:
    begin_next(Claimant(site.store, create_study(site.store)), 0.5)
    with site.store.write() as connection:
        connection.exec_driver_sql("UPDATE hpo_workers SET beat = beat - 3600")

    found = metrics(site)

    assert (found["hpo_workers"][()], found["hpo_slots"][()], found["hpo_slots_busy"][()]) == (0.0, 0.0, 0.0)


def test_a_store_without_studies_has_metrics(site: Site) -> None:
    found = metrics(site)

    assert found["hpo_store_up"] == {(): 1.0}
    assert found["hpo_workers"] == {(): 0.0}
    assert "hpo_seconds_since_last_end" not in found


def test_a_scrape_takes_as_many_statements_and_labels_for_any_number_of_studies(site: Site) -> None:
    statements: list[str] = []
    event.listen(site.store.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    create_study(site.store)
    statements.clear()
    metrics(site)
    few = len(statements)

    with site.store.write() as connection:
        connection.execute(insert(studies), [{"study_name": f"study-{n}"} for n in range(2 * MOST_STUDIES)])
        connection.exec_driver_sql(
            "INSERT INTO trials (study_id, number, state) SELECT study_id, 0, 'COMPLETE' FROM studies"
        )
    statements.clear()
    found = metrics(site)

    assert len(statements) == few
    names = {labels[0] for labels in found["hpo_trials"]}
    assert len(names) == MOST_STUDIES + 1
    assert found["hpo_trials"][OTHERS, "complete"] > 1
    assert sum(found["hpo_trials"].values()) == 2 * MOST_STUDIES  # not one that a stranger put into a study of ours


def test_hostile_names_are_one_line_of_text(site: Site) -> None:
    with site.store.write() as connection:
        connection.execute(insert(studies), [{"study_name": 'a"} 1\nhpo_workers 99\n\x1b[2J\u202e'}])
        connection.exec_driver_sql("INSERT INTO trials (study_id, number, state) VALUES (1, 0, 'COMPLETE')")

    found = metrics(site)

    assert found["hpo_workers"] == {(): 0.0}
    assert any("\\x1b" in labels[0] for labels in found["hpo_trials"])


def test_with_a_login_metrics_need_a_viewers_token(site: Site) -> None:
    assert client_of(site).get("/metrics").status_code == 401
    assert client_of(site, Role.VIEWER).get("/metrics").status_code == 200


def test_the_process_is_healthy_and_ready_with_a_store_that_answers(site: Site) -> None:
    client = client_of(site)

    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_store_that_cannot_be_used_is_not_ready_and_strangers_learn_no_more(tmp_path: Path) -> None:
    (tmp_path / "hpo.db").write_bytes(b"no database at all" * 100)
    site = Site(Store.create(f"sqlite:///{tmp_path}/other.db").url, tmp_path, tmp_path, login=True)
    site.url = type(site.url).parse(f"sqlite:///{tmp_path}/hpo.db")
    client = client_of(site)

    ready = client.get("/readyz")

    assert (client.get("/healthz").status_code, ready.status_code) == (200, 503)
    assert str(tmp_path) not in ready.text


def test_every_metric_that_the_dashboard_of_grafana_shows_exists(site: Site) -> None:
    begin_next(worker := Claimant(site.store, create_study(site.store)), 0.5)
    assert worker.finish(begin_next(worker, 0.5), 0.5)
    document: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in document["panels"] for target in panel.get("targets", [])]
    named = {name for text in expressions for name in re.findall(r"\b(?:hpo|process)_\w+", text)}

    assert len(named) >= 10
    assert named <= set(metrics(site))


def test_the_dashboard_of_grafana_has_panels_with_titles_that_do_not_overlap() -> None:
    document: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    taken: set[tuple[int, int]] = set()

    for panel in document["panels"]:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = set(itertools.product(columns, rows))
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        assert not taken & cells
        taken |= cells
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
