"""80 trials, 4 workers, 12 random `kill -9` of workers and of trial processes, a new worker for each killed one.

The trials record which process trained which epoch, and when; this shows whether two processes trained a trial at once,
whether a retry resumed from an existing checkpoint, and how many epochs were trained again. The store shows how many
trials have ended, and that none is left running.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table
from experiments.workers import Workers, trained_twice_at_once, trainings, wait_for

TRIALS, EPOCHS, WORKERS, SLOTS = 80, 6, 4, 2
EPOCH_SECONDS = 0.5
LONGEST_ROUND_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """The counts after a round."""

    seconds: float
    killed_workers: int
    killed_trials: int
    complete: int
    other_ends: int  # trials that are neither complete nor running
    running: int
    retries: int
    twice_at_once: int
    from_scratch: int  # although there was a checkpoint
    missing: int  # epochs of complete trials that are not in the store
    again: int  # epochs that were trained more than once
    is_in_time: bool

    @property
    def broken(self) -> tuple[str, ...]:
        wrong = {
            f"{self.complete} of {TRIALS} complete": self.complete != TRIALS,
            "others ended otherwise": self.other_ends > 0,
            "trials left running": self.running > 0,
            "trained twice at once": self.twice_at_once > 0,
            "retried from scratch": self.from_scratch > 0,
            "epochs not in the store": self.missing > 0,
            "not over in time": not self.is_in_time,
        }
        return tuple(words for words, is_wrong in wrong.items() if is_wrong)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stores", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    header = (
        "store", "rounds", "s a round", "killed workers, trials", "complete", "other ends", "left running", "retries",
        "trained twice at once", "from scratch despite a checkpoint", "epochs missing in the store",
        "epochs trained again",
    )  # fmt: skip
    rows = []
    for kind in options.stores:
        rounds = []
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="hpo-kills-") as folder, new_store(kind, Path(folder)) as url:
                rounds.append(play(Path(folder), url, kills=options.kills, draw=random.Random(options.seed + number)))
            print(f"{kind}, round {number}: {rounds[-1]}", file=sys.stderr, flush=True)
        rows.append(_row(kind, rounds))
    return Table(header, rows)


def _row(kind: str, rounds: list[Outcome]) -> Row:
    def total(name: str) -> int:
        return sum(getattr(found, name) for found in rounds)

    cells = (
        kind, str(len(rounds)), f"{statistics.median(found.seconds for found in rounds):.0f}",
        f"{total('killed_workers')}, {total('killed_trials')}", f"{total('complete')} of {TRIALS * len(rounds)}",
        *(str(total(name)) for name in (
            "other_ends", "running", "retries", "twice_at_once", "from_scratch", "missing", "again",
        )),
    )  # fmt: skip
    broken = (f"round {number}: {words}" for number, found in enumerate(rounds) for words in found.broken)
    return Row(cells, tuple(broken))


def play(folder: Path, url: str, *, kills: int, draw: random.Random) -> Outcome:
    """One round."""
    workers = Workers(
        folder,
        url,
        slots=SLOTS,
        seconds=EPOCH_SECONDS,
        epochs=EPOCHS,
        budget={"trials": TRIALS},
        retries={"crash": kills},
    )
    started = time.monotonic()
    try:
        for _ in range(WORKERS):
            workers.start()
        wait_for(lambda: workers.diary.stat().st_size > 0, seconds=120)
        killed = {"worker": 0, "trial": 0}
        # The trials take about this long; on a quick machine, few are left at the last kills.
        ideal = TRIALS * EPOCHS * EPOCH_SECONDS / (WORKERS * SLOTS)
        for _ in range(kills):
            time.sleep(draw.uniform(0.5, 1.2) * ideal / kills)
            victims: list[str] = ["worker"] * bool(workers.alive) + ["trial"] * bool(workers.trial_processes())
            if not victims:
                break
            victim = draw.choice(victims)
            if victim == "worker":
                draw.choice(workers.alive).kill()
                workers.start()
            else:
                draw.choice(workers.trial_processes()).kill()
            killed[victim] += 1
        is_in_time = workers.wait(seconds=LONGEST_ROUND_SECONDS)
        seconds = time.monotonic() - started
    finally:
        workers.close()
    found, records = trainings(workers.diary), workers.trials()
    complete = [record for record in records if record.state == "complete"]
    running = [record for record in records if record.ended is None]
    epochs = [(training.trial, epoch) for training in found for epoch in training.epochs]
    return Outcome(
        seconds=seconds,
        killed_workers=killed["worker"],
        killed_trials=killed["trial"],
        complete=len(complete),
        other_ends=len(records) - len(complete) - len(running),
        running=len(running),
        retries=sum(record.attempts - 1 for record in records),
        twice_at_once=trained_twice_at_once(found),
        from_scratch=sum(training.had_checkpoint and training.from_epoch == 0 for training in found),
        missing=sum(EPOCHS - len(record.curve) for record in complete),
        again=len(epochs) - len(set(epochs)),
        is_in_time=is_in_time,
    )
