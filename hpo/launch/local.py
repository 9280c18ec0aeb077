"""Workers as processes of this machine, each with its share of the cores."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from hpo.launch.launchers import check_options, whole_number
from hpo.launch.order import Order, Workers, last_lines
from hpo.study.devices import cores

OPTIONS = ("cores",)
GRACE_SECONDS = 60.0  # for a drain


class LocalLauncher:
    """
    Args:
        cores_each: of a worker; by default its share of those of this machine.
    """

    is_cluster = False

    def __init__(self, *, cores_each: int | None = None) -> None:
        self._cores = cores_each
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    @staticmethod
    def of(options: Mapping[str, str]) -> LocalLauncher:
        """
        Raises:
            SpecError: an option is invalid.
        """
        check_options("local", options, OPTIONS)
        return LocalLauncher(cores_each=whole_number("cores", options.get("cores")))

    def start(self, order: Order) -> str:
        each = self._cores or max(1, cores() // order.workers)
        folder = order.artifacts / ".workers"
        folder.mkdir(parents=True, exist_ok=True)
        more = {"HPO_CORES": str(each), **({} if order.outlives else {"HPO_END_WITH_PARENT": "1"})}
        environment = {**os.environ, **order.environment(), **more}
        found = []
        for _ in range(order.workers):
            with (folder / f"{order.name}-{time.time_ns()}.log").open("wb") as log:
                process = subprocess.Popen(
                    order.command,
                    cwd=order.project,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._started[process.pid] = process
            found.append([process.pid, psutil.Process(process.pid).create_time(), log.name])
        return json.dumps(found)

    def look(self, job: str) -> Workers:
        codes = {}
        output = ""
        for number, (pid, _, log) in enumerate(json.loads(job)):
            process = self._started.get(pid)
            if process is not None and (code := process.poll()) is not None:
                codes[number] = code
                if code:
                    output = last_lines(Path(log).read_text(encoding="utf-8", errors="replace"))
        return Workers(len(_alive(job)), codes=codes, output=output)

    def stop(self, job: str) -> None:
        for process in _alive(job):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while (left := _alive(job)) and time.monotonic() < end:
            for child in self._started.values():
                child.poll()
            time.sleep(0.1)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _alive(job: str) -> list[psutil.Process]:
    found = []
    for pid, created, _ in json.loads(job):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
