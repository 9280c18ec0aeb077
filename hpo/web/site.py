"""What a server serves: a store, and the folders that its verbs need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy.orm  # noqa: F401  # Optuna's storage needs it; while one thread imports it, statements of others fail

from hpo.errors import StoreError
from hpo.store import Store, StoreUrl
from hpo.web.sessions import Sessions

THREADS = 16  # that answer requests, each of which may use a connection to the database
PATIENCE_SECONDS = 10.0  # for the store's answer: a thread that waits longer answers nobody else


@dataclass
class Site:
    """The store, opened when it is first asked for: a server starts, and goes on, while its store is unreachable.

    Attributes:
        project: the folder that studies' classes are imported from.
        artifacts: the folder for checkpoints and logs.
        host: where the server listens.
        login: whether people log in; else whoever reaches the server may look.
        address: `https://hpo.example.com`, by which browsers reach the server behind a proxy; None for `host` itself.
        is_encrypted: whether browsers reach it by HTTPS.
    """

    url: StoreUrl
    project: Path
    artifacts: Path
    host: str = "127.0.0.1"
    login: bool = False
    address: str | None = None
    is_encrypted: bool = False
    _when_opened: list[Callable[[Store], None]] = field(default_factory=list, init=False, repr=False)
    _opened: Store | None = field(default=None, init=False, repr=False)
    _tried: float = field(default=0.0, init=False, repr=False)
    _failure: StoreError | None = field(default=None, init=False, repr=False)
    _sessions: Sessions | None = field(default=None, init=False, repr=False)
    _opening: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def store(self) -> Store:
        """The open store.

        Raises:
            StoreError: it cannot be reached, or has another schema; the next call tries again.
        """
        asked = time.monotonic()
        with self._opening:
            if self._opened is None:
                if self._failure is not None and self._tried >= asked:
                    raise type(self._failure)(str(self._failure))  # who waited for the same attempt tries no other one
                self._tried = time.monotonic()
                try:
                    store = Store.create(self.url, connections=THREADS)
                except StoreError as error:
                    self._failure = error
                    raise
                store.patience.seconds = PATIENCE_SECONDS
                for done in self._when_opened:
                    done(store)
                self._opened = store
            return self._opened

    @property
    def sessions(self) -> Sessions:
        """Those of people who have logged in.

        Raises:
            StoreError: the store cannot be reached.
        """
        store = self.store
        with self._opening:
            if self._sessions is None:
                self._sessions = Sessions(store)
            return self._sessions

    def when_opened(self, do: Callable[[Store], None]) -> None:
        """Call this with the store as soon as it is open."""
        with self._opening:
            self._when_opened.append(do)
            if self._opened is not None:
                do(self._opened)

    def close(self) -> None:
        """Close the store's connections."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = self._sessions = None
