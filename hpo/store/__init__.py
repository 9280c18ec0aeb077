"""The store: the SQL database of studies, trials, workers and results.

`Store.create` is for verbs that write, `Store.open` for verbs that only read; `read()` and `write()` are their
transactions.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine

from hpo.store import engine as _engine
from hpo.store import schema as _schema
from hpo.store.empty_tables import use_empty_tables
from hpo.store.timing import Patience, Timing
from hpo.store.url import StoreUrl, child_environment

__all__ = ["Store", "StoreUrl", "Timing", "child_environment"]


@dataclass(frozen=True)
class Store:
    """An open store; its `repr` has no password.

    Attributes:
        timing: of the leases in it.
        patience: how long to wait for its answers.
    """

    url: StoreUrl
    engine: Engine = field(repr=False)
    timing: Timing = field(default_factory=Timing.of_environment)
    patience: Patience = field(default_factory=Patience, repr=False)

    @classmethod
    def create(cls, url: str | StoreUrl, *, base: Path | None = None, connections: int = 1) -> Store:
        """Open the store and create what is missing: for verbs that write.

        Args:
            url: see `StoreUrl.parse`.
            base: where relative SQLite paths start; the current folder by default.
            connections: that are kept for later transactions; as many threads can use the store at a time.

        Raises:
            StoreError: it is unreachable, cannot be written, or has an older or newer schema.
        """
        parsed = url if isinstance(url, StoreUrl) else StoreUrl.parse(url, base=base)
        store = cls._opened(parsed, connections)
        try:
            _schema.ensure_schema(store.engine, parsed)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, url: str | StoreUrl, *, base: Path | None = None, is_foreign_allowed: bool = False) -> Store:
        """Open the store and create nothing: for verbs that only read.

        Args:
            is_foreign_allowed: also a store that only Optuna's own programs have used; our tables are then read as
                empty ones.

        Raises:
            StoreError: there is no store, it is unreachable, or has an older or newer schema.
        """
        parsed = url if isinstance(url, StoreUrl) else StoreUrl.parse(url, base=base)
        store = cls._opened(parsed)
        try:
            if is_foreign_allowed and _schema.is_foreign(store.engine):
                use_empty_tables(store.engine)
            else:
                _schema.check_schema(store.engine)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _opened(cls, url: StoreUrl, connections: int = 1) -> Self:
        patience = Patience()
        return cls(url, _engine.open_engine(url, patience, connections=connections), patience=patience)

    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one snapshot and cannot write."""
        return _engine.read(self.engine)

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that is committed at the end, or rolled back on an exception."""
        return _engine.write(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
