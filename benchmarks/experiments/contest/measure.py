"""One search of `benchmarks/search.py` by one tool, with its processes watched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from experiments.contest.points import write_points

CONTEST = Path(__file__).parent
ROOT = CONTEST.parents[2]
WAYS = ("optuna-1", "optuna-2", "ray", "ray-reuse", "hpo-plain", "hpo")
TRIALS = {"fashion": 24, "tabular": 200}
EPOCHS = {"fashion": 6, "tabular": 20}
REACHED = {"fashion": (0.84, 0.86), "tabular": (0.95, 0.97)}
PINNED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
POLLS_PER_MEMORY = 10  # the kernel counts all pages of a process for it, which delays the process


@dataclass(frozen=True)
class Task:
    """What a tool is to do.

    Attributes:
        protocol: the data, the ranges and the epochs.
        points: the configurations to train, all of them to their last epoch; None for a search with its pruner.
    """

    protocol: str
    seed: int
    points: Sequence[Mapping[str, Any]] | None = None

    @property
    def trials(self) -> int:
        return TRIALS[self.protocol] if self.points is None else len(self.points)

    @property
    def most_epochs(self) -> int:
        return self.trials * EPOCHS[self.protocol]


@dataclass(frozen=True)
class Result:
    """The measurements of one search.

    Attributes:
        seconds: from the start of its processes to the end of the last one.
        processor: seconds, of all processes.
        epochs: trained, of all trials.
        best: accuracy on the validation part after any epoch.
        until: seconds until each of REACHED; None where it was not.
        first: seconds until the first training step.
        memory: bytes, at most.
    """

    seconds: float
    processor: float
    epochs: int
    best: float
    until: tuple[float | None, ...]
    first: float
    memory: int


class SearchError(Exception):
    """A search ended with an error; the message has its output."""


def search(way: str, task: Task) -> Result:
    """Search once, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hpo-contest-", ignore_cleanup_errors=True) as folder:
        return search_in(Path(folder), way, task)


def search_in(folder: Path, way: str, task: Task) -> Result:
    """Search once, with the files of the search in this folder. Points are given to the tool before the clock starts.

    Raises:
        SearchError: it failed, or it trained points other than once each to their last epoch.
    """
    if task.points is not None:
        write_points(task.points, folder)
    for command in preparation(way, task):
        done = subprocess.run(
            command, cwd=folder, env=environment(folder / "before"), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SearchError(f"{way}, seed {task.seed}, could not be prepared:\n{done.stdout}{done.stderr}")
    started, before = time.time(), time.perf_counter()
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment(folder / "events") | (PINNED if way == "optuna-2" else {}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for command in commands(way, task)
        ]
        processor, memory = watch(processes)
    seconds = time.perf_counter() - before
    if any(process.returncode for process in processes):
        printed = (folder / "log").read_text()
        # From the traceback on, since the other of two processes may print after it.
        raise SearchError(f"{way}, seed {task.seed}, failed:\n{printed[max(printed.find('Traceback'), 0) :][:4000]}")
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    epochs = [(event["at"] - started, event["accuracy"]) for event in events if event["event"] == "epoch"]
    if task.points is not None and len(epochs) != task.most_epochs:
        raise SearchError(f"{way}, seed {task.seed}, trained {len(epochs)} epochs instead of {task.most_epochs}")
    until = tuple(
        min((at for at, accuracy in epochs if accuracy >= wanted), default=None) for wanted in REACHED[task.protocol]
    )
    first = min(event["at"] for event in events) - started
    return Result(seconds, processor, len(epochs), max(value for _, value in epochs), until, first, memory)


def environment(events: Path) -> dict[str, str]:
    """The environment of a process that trains the contest's networks and records their events in a file."""
    paths = [str(ROOT), str(CONTEST.parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"CONTEST_EVENTS": str(events), "PYTHONPATH": os.pathsep.join(paths)}


def preparation(way: str, task: Task) -> list[list[str]]:
    """The commands that give a tool its points, one after the other; Ray has them as its grid."""
    if task.points is None or way.startswith("ray"):
        return []
    if way.startswith("optuna"):
        return [[*_optuna(task), "enqueue"]]
    store = ["--project", str(ROOT), "--store", "hpo.db"]
    return [
        [*_HPO, "submit", *_study(way, task), *store],
        [*_HPO, "enqueue", "contest", "--from", "points.csv", *store],
    ]


def commands(way: str, task: Task) -> list[list[str]]:
    """The commands of a way, which run at the same time."""
    name, _, variant = way.partition("-")
    if name == "optuna":
        count = int(variant)
        if task.points is not None:
            return [[*_optuna(task), "points"]] * count
        return [[*_optuna(task, part), "search", str(task.trials // count), str(part)] for part in range(count)]
    if name == "ray":
        what = "points" if task.points is not None else str(task.trials)
        return [[sys.executable, str(CONTEST / "ray_way.py"), task.protocol, str(task.seed), what, variant or "new"]]
    places = ["--project", str(ROOT), "--store", "hpo.db", "--artifacts", "hpo-artifacts"]  # in this search's folder
    return [[*_HPO, "run", *_study(way, task), *places]]


_HPO = (sys.executable, "-m", "hpo")


def _optuna(task: Task, part: int = 0) -> list[str]:
    return [sys.executable, str(CONTEST / "optuna_way.py"), task.protocol, str(task.seed + 1000 * part)]


def _study(way: str, task: Task) -> list[str]:
    changes = [f"seed={task.seed}", f"budget.trials={task.trials}"]
    if task.points is not None:
        changes += ["pruner=none", "early_stopping=null"]
    if way == "hpo-plain":
        changes.append("model.fused=false")
    return [str(CONTEST / f"{task.protocol}.yaml"), *(word for change in changes for word in ("--set", change))]


def watch(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[float, int]:
    """Wait for the end of all; (processor seconds, peak memory) of them and their descendants."""
    roots = [psutil.Process(process.pid) for process in processes]
    seconds: dict[psutil.Process, float] = {}
    memory = polls = 0
    while any([process.poll() is None for process in processes]):
        total, polls = 0, polls + 1
        for member in _family(roots):
            try:
                spent = member.cpu_times()
                seconds[member] = spent.user + spent.system
                if polls % POLLS_PER_MEMORY == 0:
                    total += _own_memory(member.pid)
            except (psutil.Error, OSError):  # it has exited meanwhile
                continue
        memory = max(memory, total)
        time.sleep(0.2)
    return sum(seconds.values()), memory


def _family(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for root in roots:
        try:
            found += [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def _own_memory(pid: int) -> int:
    """Bytes: its own pages, and its part of shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0
