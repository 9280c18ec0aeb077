"""Sites on stores of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.store import Store
from hpo.web.site import Site


@pytest.fixture
def site(sqlite_store: Store, artifacts: Path, tmp_path: Path) -> Iterator[Site]:
    """One with a login."""
    made = Site(sqlite_store.url, tmp_path, artifacts, login=True)
    yield made
    made.close()


@pytest.fixture
def site_of_each_database(store: Store, artifacts: Path, tmp_path: Path) -> Iterator[Site]:
    """One with a login, on each database in turn."""
    made = Site(store.url, tmp_path, artifacts, login=True)
    yield made
    made.close()
