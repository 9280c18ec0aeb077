"""Studies over HTTP, by the application itself and a real store."""

from __future__ import annotations

from callers import client_of
from projects.synthetic import create_study

from hpo.web.callers import Role
from hpo.web.site import Site


def test_the_studies_of_the_store_are_listed(site_of_each_database: Site) -> None:
    create_study(site_of_each_database.store)

    answer = client_of(site_of_each_database, Role.VIEWER).get("/api/v1/studies")

    assert [study["study"] for study in answer.json()] == ["synthetic"]
