"""Whether a worker is alive and ready, over HTTP: for engines that start another one when it is not.

`GET /live` answers 200 while the worker's loop turns, `GET /ready` while it takes trials, and 503 otherwise; both with
the same JSON object. A thread of its own answers, so that a loop that hangs is told of.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.worker.loop import Worker

LOOPBACK = "127.0.0.1"
# The loop waits for the imports of a study that it adopts, and for a database's answer, which may take a while.
LIVE_SECONDS = 120.0


class Health:
    """What the worker said last, and the server that tells it; a context manager that ends the server."""

    def __init__(self, host: str, port: int) -> None:
        self._noted = time.monotonic()
        self._state: dict[str, Any] = {"ready": False, "draining": False, "trials": 0, "slots": 0, "studies": []}
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = health.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True, name="health").start()

    @staticmethod
    def at(address: str) -> Health:
        """Listen at `PORT` of the loopback interface, or at `HOST:PORT`.

        Raises:
            SpecError: it is no address, or cannot be listened at.
        """
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise SpecError(f"--health {address}: should be a port such as 8080, or HOST:PORT")
        try:
            return Health(host.strip("[]") or LOOPBACK, int(port))
        except OSError as error:
            raise SpecError(f"--health {address}: {error.strerror or error}") from error

    def note(self, worker: Worker) -> None:
        """The worker's loop has turned."""
        self._noted = time.monotonic()
        self._state = {
            "ready": worker.is_ready,
            "draining": worker.is_draining,
            "trials": len(worker.trials),
            "slots": len(worker.slots),
            "studies": [run.study.name for run in worker.runs.values()],
        }

    def answer(self, path: str) -> tuple[int, str]:
        """The status and the body of an answer."""
        seconds = time.monotonic() - self._noted
        is_live = seconds < LIVE_SECONDS
        found = {"/live": is_live, "/ready": is_live and self._state["ready"]}
        if path not in found:
            return 404, json.dumps({"error": "ask for /live or /ready"})
        return 200 if found[path] else 503, json.dumps({"live": is_live, **self._state, "seconds": round(seconds, 1)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
