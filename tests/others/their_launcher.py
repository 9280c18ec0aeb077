"""A launcher of another package, as somebody would write it after reading docs/launchers.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

import psutil

from hpo.launch.order import Order, Workers


def of(options: Mapping[str, str]) -> TheirLauncher:
    return TheirLauncher(cores=options.get("cores", "1"))


class TheirLauncher:
    is_cluster = False

    def __init__(self, *, cores: str) -> None:
        self._cores = cores

    def start(self, order: Order) -> str:
        environment = {**os.environ, **order.environment(), "HPO_CORES": self._cores}
        silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        started = [
            subprocess.Popen(order.command, cwd=order.project, env=environment, start_new_session=True, **silent)
            for _ in range(order.workers)
        ]
        return " ".join(str(process.pid) for process in started)

    def look(self, job: str) -> Workers:
        return Workers(len(_running(job)))

    def stop(self, job: str) -> None:
        for process in (running := _running(job)):
            process.terminate()
        psutil.wait_procs(running, timeout=60)


def _running(job: str) -> list[psutil.Process]:
    processes = [psutil.Process(int(pid)) for pid in job.split() if psutil.pid_exists(int(pid))]
    return [process for process in processes if process.status() != psutil.STATUS_ZOMBIE]
