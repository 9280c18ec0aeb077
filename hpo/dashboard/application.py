"""optuna-dashboard's WSGI application on a store, for those who may only look, and for those who may write.

optuna-dashboard has no login, and no read-only mode. For those who only look, the connections to the database cannot
write, and the page hides what would. Which requests reach it is decided before it, by `hpo.web`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.dashboard.page import without_changes
from hpo.dashboard.text import as_text

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import RDBStorage

log = logging.getLogger(__name__)


def dashboard_of(storage: RDBStorage, artifacts: Path, *, may_write: bool = False) -> WSGIApplication:
    """The application; an error while it answers is told in its pages.

    Args:
        artifacts: the folder of trials' logs, and of files that Optuna scripts attached to trials.
        may_write: its page shows what changes studies; the storage has to allow it.
    """
    import optuna
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    from hpo.dashboard.files import TrialFiles

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    logging.getLogger("optuna_dashboard").setLevel(logging.CRITICAL)
    app: Any = wsgi(storage, TrialFiles(storage.engine, artifacts, FileSystemArtifactStore(artifacts)))
    app.catchall = False  # errors come to `_explained` instead of being printed with a traceback
    shown = as_text(app)
    return _explained(shown if may_write else without_changes(shown))


def forbid_writing(storage: RDBStorage) -> None:
    """Make the storage's connections to the database read-only."""
    from sqlalchemy import event

    def forbid(connection: Any, _: object) -> None:
        if storage.engine.dialect.name == "sqlite":
            connection.execute("PRAGMA query_only = 1")
        else:
            connection.read_only = True

    event.listen(storage.engine, "connect", forbid)
    storage.engine.dispose()  # of connections that were opened before


def _explained(app: WSGIApplication) -> WSGIApplication:
    """The application, whose errors are told as its pages show them to their user."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # optuna-dashboard reads it without a default
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        try:
            return app(environ, start_response)
        except Exception as error:
            # without the message, which may quote the store's address
            log.warning("the dashboard could not answer: %s", type(error).__name__)
            reason = "the store cannot be read at the moment: try again, and see 'hpo ls' for the reason"
            body = json.dumps({"reason": reason}).encode()
            described = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response("503 Service Unavailable", described)
            return [body]

    return answer
