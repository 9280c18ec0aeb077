"""What a server serves: a store, and the folders that its verbs need."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from hpo.store import Store, StoreUrl


@dataclass
class Site:
    """The store, opened when it is first asked for: a server starts, and goes on, while its store is unreachable.

    Attributes:
        project: the folder that studies' classes are imported from.
        artifacts: the folder for checkpoints and logs.
        host: where the server listens.
    """

    url: StoreUrl
    project: Path
    artifacts: Path
    host: str = "127.0.0.1"
    _opened: Store | None = field(default=None, init=False, repr=False)
    _opening: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def store(self) -> Store:
        """The open store.

        Raises:
            StoreError: it cannot be reached, or has another schema; the next call tries again.
        """
        with self._opening:
            if self._opened is None:
                self._opened = Store.create(self.url)
            return self._opened

    def close(self) -> None:
        """Close the store's connections."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
