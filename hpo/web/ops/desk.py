"""What the pages of a server share while it runs: its feeds, and what people were told of what they have done."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from fastapi import Request
from sqlalchemy import Engine

from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.web.ops.events import Feeds

MOST_TOLD, MOST_READERS = 1000, 200


@dataclass
class Desk:
    """Of one server.

    Attributes:
        reports: at most one report is made at a time, since it takes a core for seconds; those who wait take no thread.
    """

    feeds: Feeds = field(default_factory=Feeds)
    reports: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _told: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _readers: OrderedDict[tuple[Engine, str | None], LiveReader] = field(default_factory=OrderedDict)

    def reader(self, store: Store, study: str | None = None) -> LiveReader:
        """The one that looks at a study, or at all of them: it keeps its forecasts from one page to the next."""
        found = self._readers.setdefault((store.engine, study), LiveReader(store, study))
        while len(self._readers) > MOST_READERS:
            self._readers.popitem(last=False)
        return found

    def tell(self, words: str) -> str:
        """Keep a sentence for the page that follows a form; returns what that page asks for it by."""
        key = secrets.token_urlsafe(9)
        self._told[key] = words
        while len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        return key

    def told(self, key: str) -> str:
        """The sentence, once: a page that is loaded again does not say it again."""
        return self._told.pop(key, "")


def desk_of(request: Request) -> Desk:
    """The desk of the server that answers."""
    desk: Desk = request.app.state.desk
    return desk
