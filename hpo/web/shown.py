"""optuna-dashboard, which answers all paths that are not ours: read-only for viewers, with buttons for operators."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from hpo.dashboard.application import dashboard_of, forbid_writing
from hpo.errors import HpoError
from hpo.store.optuna_storage import optuna_storage
from hpo.web.access import READS
from hpo.web.callers import Caller, Role
from hpo.web.problems import problem_of
from hpo.web.site import Site
from hpo.web.writes import answer_write

if TYPE_CHECKING:
    from a2wsgi import WSGIMiddleware

THREADS = 4  # of each: a browser asks for a few things at a time, and each may take a connection to the database


class ShownDashboard:
    """An ASGI application; a storage for each of the two kinds of callers is opened when one comes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._opened: dict[bool, WSGIMiddleware] = {}
        self._opening = threading.Lock()
        self._resources = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        may_write = caller.role >= Role.OPERATOR
        try:
            app: Any = self._opened.get(may_write) or await to_thread.run_sync(self._open, may_write)
        except (HpoError, SQLAlchemyError) as error:
            await problem_of(error)(scope, receive, send)
            return
        if scope["method"] in READS:
            await app(scope, receive, send)
        else:
            await answer_write(self._site, caller, app, scope, receive, send)

    def close(self) -> None:
        """Close the connections to the store."""
        with self._opening:
            self._opened.clear()
            self._resources.close()

    def _open(self, may_write: bool) -> WSGIMiddleware:
        """
        Raises:
            StoreError: the store cannot be used; the next call tries again.
        """
        from a2wsgi import WSGIMiddleware

        from hpo.dashboard.storage import ShownStorage  # imports Optuna

        store = self._site.store  # whose tables it needs
        with self._opening:
            if may_write not in self._opened:
                storage = self._resources.enter_context(optuna_storage(store.url, pool_size=THREADS, kind=ShownStorage))
                if not may_write:
                    forbid_writing(storage)
                app: Any = dashboard_of(storage, self._site.artifacts, may_write=may_write)
                self._opened[may_write] = WSGIMiddleware(app, workers=THREADS)
            return self._opened[may_write]
