"""A served store for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served

from hpo.store import Store


@pytest.fixture
def served(sqlite_store: Store, tmp_path: Path) -> Iterator[Served]:
    """The store of the test, served."""
    found = Served(sqlite_store, tmp_path)
    yield found
    found.close()
