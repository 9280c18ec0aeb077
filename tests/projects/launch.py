"""Runs `hpo` in processes of its own, as users do, and inspects these and the store.

The limits of time here only end what hangs: on a busy machine, to import torch alone may take a minute.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from sqlalchemy import update

from hpo.errors import StoreError
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store
from hpo.store.tables import hpo_attempts

PROJECT = Path(__file__).parent.parent  # its folder of modules is this one
EAGER = "poll=0.2"  # how often workers look into the store; how long they wait for each other is as people have it
LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.1  # looking costs time that the processes need
_CREDENTIALS = ("HPO_STORE", "HPO_PROJECT", "HPO_ARTIFACTS", "PGPASSWORD")


class Hpo:
    """The command line, with a store and a folder of its own.

    Args:
        environment: on top of this process's.
    """

    def __init__(self, folder: Path, url: str, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.url = url
        kept = {name: value for name, value in os.environ.items() if name not in _CREDENTIALS}
        ours = {"COLUMNS": "200", "HPO_ARTIFACTS": str(folder / "art"), "HPO_TIMING": EAGER}
        self._environment = {**kept, **ours, **(environment or {})}

    def study(self, name: str, **keys: Any) -> Path:
        """Write a study file of two short epochs."""
        plain: dict[str, Any] = {
            "study": name,
            "model": "projects.nets:Line",
            "data": "projects.nets:Points",
            "objective": {"metric": "val_loss", "direction": "minimize"},
            "epochs": 2,
            "sampler": "random",
            "pruner": "none",
            "early_stopping": None,
            "resources": {"accelerator": "cpu"},
        }
        path = self.folder / f"{name}.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump({**plain, **keys}, file)
        return path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `hpo ARGUMENTS`; its output, both streams, is read with `communicate`."""
        return subprocess.Popen(
            [sys.executable, "-m", "hpo", *map(str, arguments), *self._options()],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: object) -> tuple[int, str]:
        """`hpo ARGUMENTS` to its end: (exit code, output)."""
        return finish(self.start(*arguments))

    def trials(self, study: str) -> list[TrialRecord]:
        with Store.open(self.url) as store:
            return Study(store, study).trials()

    def counts(self, study: str) -> dict[str, int]:
        """How many trials are in each state, without those in which there are none."""
        with Store.open(self.url) as store:
            return {state: count for state, count in Study(store, study).status().counts.items() if count}

    def expire_leases(self) -> None:
        """As if the workers that are gone had been gone for long."""
        with Store.open(self.url) as store, store.write() as connection:
            connection.execute(update(hpo_attempts).where(hpo_attempts.c.ended.is_(None)).values(lease_until=1.0))

    def _options(self) -> list[str]:
        return ["--project", str(PROJECT), *(["--store", self.url] if "HPO_STORE" not in self._environment else [])]


def finish(process: subprocess.Popen[str], *, timeout: float = LIMIT_SECONDS) -> tuple[int, str]:
    """Wait for the end: (exit code, output). Whatever the process leaves behind when it fails is ended."""
    try:
        output = process.communicate(timeout=timeout)[0]
    except BaseException:
        for left in [*descendants(process), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        raise
    return process.returncode, output


def read_until(process: subprocess.Popen[str], words: str, *, seconds: float = LIMIT_SECONDS) -> str:
    """The process's output up to these words; `finish` gives what follows."""
    assert process.stdout is not None
    output, end = b"", time.monotonic() + seconds
    while words.encode() not in output:
        if not select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError(f"it printed, without {words!r}, {output.decode(errors='replace')}")
        piece = os.read(process.stdout.fileno(), 1 << 16)  # past Python's buffer, of which `communicate` knows nothing
        if not piece:
            break
        output += piece
    return output.decode(errors="replace")


def wait_for(fact: Callable[[], Any], *, seconds: float = LIMIT_SECONDS) -> Any:
    """The fact, as soon as it is true; not yet, while there is no store or no process."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess, StoreError):
            if found := fact():
                return found
        time.sleep(POLL_SECONDS)
    raise TimeoutError("it did not become true")


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def watch(process: subprocess.Popen[str], *, seconds: float = LIMIT_SECONDS) -> list[psutil.Process]:
    """Wait for its end; every process below it that was ever seen."""
    seen: dict[int, psutil.Process] = {}
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        seen |= {below.pid: below for below in descendants(process)}
        time.sleep(POLL_SECONDS)
    return list(seen.values())


def trial_processes(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that train: those that write into a trial's log, which a spare one does not yet."""
    found = []
    for below in descendants(process):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{below.pid}/fd/1").readlink().name == "log.txt":
                found.append(below)
    return found


def left_of(processes: list[psutil.Process], *, seconds: float = LIMIT_SECONDS) -> list[psutil.Process]:
    """Those that still run after a moment."""
    end = time.monotonic() + seconds
    while (left := [process for process in processes if _is_alive(process)]) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return left


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
