"""SIGTERM to a worker alone and to every process below it, at a random moment: what is handed back, and what is lost.

Slurm, systemd and a closed terminal send a signal to all processes of a job. Trials have to finish their epoch and be
handed back as if only the worker had got it; another worker then trains them to their end, and the diary of the trials
shows whether an epoch was begun twice.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table
from experiments.workers import Workers, trainings, wait_for

TRIALS, SLOTS = 4, 2
EPOCH_SECONDS = 0.5
TO = ("the worker", "all processes")
LONGEST_ROUND_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """The counts after a round."""

    code: int | None  # the exit code of the worker that got the signal
    handed_back: int
    left: int  # processes that still ran when it had exited
    complete: int
    again: int  # epochs that were trained, or begun, more than once

    @property
    def broken(self) -> tuple[str, ...]:
        wrong = {
            f"{self.complete} of {TRIALS} complete": self.complete != TRIALS,
            f"{self.left} processes left": self.left > 0,
            f"{self.again} epochs trained twice": self.again > 0,
        }
        return tuple(words for words, is_wrong in wrong.items() if is_wrong)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=KINDS, default="sqlite")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12, help="of a trial")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    header = (
        "SIGTERM to", "rounds", "exit codes", "trials handed back", "processes left", "complete",
        "epochs trained twice",
    )  # fmt: skip
    found: dict[str, list[Outcome]] = {to: [] for to in TO}
    for number in range(options.rounds):
        for to in TO:
            with (
                tempfile.TemporaryDirectory(prefix="hpo-signals-") as folder,
                new_store(options.store, Path(folder)) as url,
            ):
                found[to].append(play(Path(folder), url, to, options.epochs, random.Random(options.seed + number)))
            print(f"{to}, round {number}: {found[to][-1]}", file=sys.stderr, flush=True)
    codes = {to: Counter(outcome.code for outcome in outcomes) for to, outcomes in found.items()}
    is_alike = codes[TO[0]] == codes[TO[1]]
    return Table(header, [_row(to, outcomes, is_alike=is_alike) for to, outcomes in found.items()])


def _row(to: str, outcomes: list[Outcome], *, is_alike: bool) -> Row:
    codes = Counter(outcome.code for outcome in outcomes)
    cells = (
        to, str(len(outcomes)), ", ".join(f"{count} of {code}" for code, count in codes.items()),
        str(sum(outcome.handed_back for outcome in outcomes)), str(sum(outcome.left for outcome in outcomes)),
        f"{sum(outcome.complete for outcome in outcomes)} of {TRIALS * len(outcomes)}",
        str(sum(outcome.again for outcome in outcomes)),
    )  # fmt: skip
    broken = [f"round {number}: {words}" for number, outcome in enumerate(outcomes) for words in outcome.broken]
    return Row(cells, (*broken, *(() if is_alike else ("other exit codes",))))


def play(folder: Path, url: str, to: str, epochs: int, draw: random.Random) -> Outcome:
    """One round."""
    workers = Workers(folder, url, slots=SLOTS, seconds=EPOCH_SECONDS, epochs=epochs, budget={"trials": TRIALS})
    try:
        worker = psutil.Process(workers.start().pid)
        wait_for(lambda: workers.diary.stat().st_size > 0, seconds=120)
        time.sleep(draw.uniform(0, epochs * EPOCH_SECONDS / 2))
        below = worker.children(recursive=True)
        hit = [worker, *below] if to == TO[1] else [worker]
        draw.shuffle(hit)
        for process in hit:
            process.send_signal(signal.SIGTERM)
        wait_for(lambda: not workers.alive, seconds=60)
        code = workers.processes[0].poll()
        left = sum(process.is_running() for process in below)
        handed_back = sum(record.state == "idle" for record in workers.trials())
        workers.start()
        workers.wait(seconds=LONGEST_ROUND_SECONDS)
    finally:
        workers.close()
    # An attempt begins at the epoch at which the one before was saved: a later one that begins before has lost some.
    begun = [(training.trial, epoch) for training in trainings(workers.diary) for epoch in training.begun]
    return Outcome(
        code=code,
        handed_back=handed_back,
        left=left,
        complete=sum(record.state == "complete" for record in workers.trials()),
        again=len(begun) - len(set(begun)),
    )
