"""Real workers: `hpo worker` processes, their study, and the diary of its trials."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from hpo.errors import StoreError
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.store import Store

PROJECT = Path(__file__).parent / "project"
STUDY = "slow"
POLL_SECONDS = 0.2


class Workers:
    """Workers of one study, each a process with its own session, and the diary of its trials.

    Args:
        folder: for the study file, the artifacts, the diary and the workers' logs.
        slots: of each worker; None for what its study says.
        environment: of all workers, on top of this process's.
        keys: of the study file.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        slots: int | None,
        seconds: float,
        environment: Mapping[str, str] | None = None,
        **keys: Any,
    ) -> None:
        self.folder = folder
        self.url = url
        self.slots = slots
        self._own = dict(environment or {})
        self.processes: list[subprocess.Popen[bytes]] = []
        self.diary = folder / "diary.jsonl"
        plain: dict[str, Any] = {
            "study": STUDY,
            "model": {"class": "slow:Slow", "diary": str(self.diary), "seconds": seconds},
            "data": "slow:Points",
            "objective": {"metric": "val_loss", "direction": "minimize"},
            "sampler": "random",
            "pruner": "none",
            "early_stopping": None,
            "resources": {"accelerator": "cpu"},
        }
        file = folder / "study.yaml"
        with file.open("w", encoding="utf-8") as opened:
            YAML(typ="safe").dump(plain | keys, opened)
        done = subprocess.run(self._command("submit", str(file)), env=self._environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        self.diary.write_text("")  # without the batch that was tried

    def start(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one more worker.

        Args:
            environment: of this one.
        """
        slots = () if self.slots is None else ("--slots", str(self.slots))
        command = self._command("worker", STUDY, "--until-idle", *slots)
        with (self.folder / f"worker-{len(self.processes)}.log").open("wb") as log:
            url = {"HPO_STORE": self.url_of(len(self.processes))}
            process = subprocess.Popen(
                command,
                env={**self._environment, **url, **(environment or {})},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def url_of(self, worker: int) -> str:
        """The store's URL for this worker, with a name that PostgreSQL shows for its connections."""
        return self.url if self.url.startswith("sqlite") else f"{self.url}&application_name=worker-{worker}"

    @property
    def alive(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self.processes if process.poll() is None]

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"worker-{self.processes.index(process)}.log").read_text(errors="replace")

    def logs(self) -> str:
        return "".join(self.log(process) for process in self.processes)

    def trial_processes(self) -> list[psutil.Process]:
        """The processes that train: they write into a trial's log, which spare ones do not yet."""
        found = []
        for worker in self.alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                for below in psutil.Process(worker.pid).children(recursive=True):
                    with contextlib.suppress(OSError):
                        if Path(f"/proc/{below.pid}/fd/1").readlink().name == "log.txt":
                            found.append(below)
        return found

    def trials(self) -> list[TrialRecord]:
        with Store.open(self.url) as store:
            return Study(store, STUDY).trials()

    def wait(self, *, seconds: float) -> bool:
        """Wait for the end of all workers; whether they ended in time."""
        return bool(wait_for(lambda: not self.alive, seconds=seconds))

    def close(self) -> None:
        """End all remaining processes."""
        for worker in self.alive:
            below = psutil.Process(worker.pid).children(recursive=True)
            worker.kill()
            worker.wait()
            for process in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    @property
    def _environment(self) -> dict[str, str]:
        ours = {"HPO_STORE": self.url, "HPO_ARTIFACTS": str(self.folder / "artifacts")}
        return {**os.environ, **ours, **self._own}

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hpo", *arguments, "--project", str(PROJECT)]


def wait_for(fact: Callable[[], Any], *, seconds: float) -> Any:
    """The fact, as soon as it is true; its last value if it does not become true in time."""
    end = time.monotonic() + seconds
    while True:
        found = None
        with contextlib.suppress(psutil.NoSuchProcess, StoreError):
            found = fact()
        if found or time.monotonic() > end:
            return found
        time.sleep(POLL_SECONDS)


@dataclass
class Training:
    """An attempt, as recorded by the process that trained it."""

    trial: str  # its folder's name, which is its number
    pid: int
    began: float  # in monotonic seconds, the same for all processes of the machine
    ended: float  # the time of its last record
    had_checkpoint: bool = False
    devices: str = ""  # by CUDA_VISIBLE_DEVICES
    from_epoch: int | None = None  # None: it was killed before it trained
    epochs: dict[int, float] = field(default_factory=dict)  # the trained ones, from 0, with the times of their ends
    begun: set[int] = field(default_factory=set)  # the epochs of which at least a step was trained


def trainings(diary: Path) -> list[Training]:
    """All attempts, in the order of their starts."""
    found: list[Training] = []
    latest: dict[tuple[str, int], Training] = {}  # a process trains several trials, and may get one again
    for text in diary.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        key = (line["trial"], line["pid"])
        if line["what"] == "start":
            latest[key] = Training(
                *key, began=line["at"], ended=line["at"], had_checkpoint=line["checkpoint"], devices=line["devices"]
            )
            found.append(latest[key])
        training = latest[key]
        training.ended = line["at"]
        match line["what"]:
            case "from":
                training.from_epoch = line["epoch"]
            case "step":
                training.begun.add(line["epoch"])
            case "epoch":
                training.epochs[line["epoch"]] = line["at"]
    return sorted(found, key=lambda training: training.began)


def trained_twice_at_once(found: list[Training]) -> int:
    """Pairs of attempts of one trial, of which the later began before the last record of the earlier."""
    by_trial: dict[str, list[Training]] = defaultdict(list)
    for training in found:
        by_trial[training.trial].append(training)
    return sum(later.began < earlier.ended for of in by_trial.values() for earlier, later in itertools.pairwise(of))


def most_at_once(found: list[Training]) -> int:
    """The maximum number of attempts that trained at the same time."""
    moments = sorted([(one.began, 1) for one in found] + [(one.ended, -1) for one in found])
    return max(itertools.accumulate(step for _, step in moments), default=0)
