"""Studies over HTTP, by the application itself and a real store."""

from __future__ import annotations

from pathlib import Path

from callers import client_of
from projects.synthetic import create_study

from hpo.store import Store
from hpo.web.site import Site


def test_the_studies_of_the_store_are_listed(store: Store, tmp_path: Path) -> None:
    create_study(store)
    client = client_of(Site(store.url, tmp_path, tmp_path))

    answer = client.get("/api/v1/studies")

    assert [study["study"] for study in answer.json()] == ["synthetic"]
