"""optuna-dashboard, which answers all paths that are not ours: read-only for viewers, with buttons for operators."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hpo.dashboard.application import dashboard_of, forbid_writing
from hpo.errors import HpoError
from hpo.store.optuna_storage import optuna_storage
from hpo.web.access import READS
from hpo.web.callers import Caller, Role
from hpo.web.ops.addresses import of_study
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
            app: Any = self._opened.get(may_write) or await to_thread.run_sync(self.open, may_write)
        except (HpoError, SQLAlchemyError) as error:
            await problem_of(error)(scope, receive, send)
            return
        send = self._explained(scope, receive, send)
        if scope["method"] in READS:
            await app(scope, receive, send)
        else:
            await answer_write(self._site, caller, app, scope, receive, send)

    def open(self, may_write: bool = False) -> WSGIMiddleware:
        """optuna-dashboard for callers of one kind; the first call takes a second, to import Optuna.

        Raises:
            StoreError: the store cannot be used; the next call tries again.
        """
        from a2wsgi import WSGIMiddleware

        from hpo.dashboard.storage import ShownStorage  # imports Optuna

        store = self._site.store  # whose tables it needs
        with self._opening:
            if may_write not in self._opened:
                storage = self._resources.enter_context(optuna_storage(store.url, pool_size=THREADS, kind=ShownStorage))
                assert isinstance(storage, ShownStorage)
                storage.notes.page_of = of_study
                if not may_write:
                    forbid_writing(storage)
                app: Any = dashboard_of(storage, self._site.artifacts, may_write=may_write)
                self._opened[may_write] = WSGIMiddleware(app, workers=THREADS)
            return self._opened[may_write]

    def close(self) -> None:
        """Close the connections to the store."""
        with self._opening:
            self._opened.clear()
            self._resources.close()

    def _explained(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """Sends answers, and in place of optuna-dashboard's `internal server error` that the store does not answer."""
        is_replaced = False

        async def explained(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start" and message["status"] == 500:
                trouble = await to_thread.run_sync(self._trouble)
                if trouble is not None:
                    is_replaced = True
                    await trouble(scope, receive, send)
            if not is_replaced:
                await send(message)

        return explained

    def _trouble(self) -> Response | None:
        """What is wrong with the store; None where it answers."""
        try:
            with self._site.store.read() as connection:
                connection.execute(select(1))
        except (HpoError, SQLAlchemyError) as error:
            return problem_of(error)
        return None
