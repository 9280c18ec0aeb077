"""PostgreSQL is killed while two workers train on eight slots, and is restarted after half a minute.

All its processes get `kill -9`. Trials continue meanwhile, and end; their reports are queued in the workers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from experiments.databases import postgres
from experiments.table import Table, exactly, figure
from experiments.workers import Workers, trainings, wait_for

WORKERS, SLOTS = 2, 4
TRIALS, EPOCHS, EPOCH_SECONDS = 16, 25, 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30.0, help="without a database")


def measure(options: argparse.Namespace) -> Table:
    with tempfile.TemporaryDirectory(prefix="hpo-outage-") as folder, postgres() as server:
        url = server.create_database()
        workers = Workers(
            Path(folder), url, slots=SLOTS, seconds=EPOCH_SECONDS, epochs=EPOCHS, budget={"trials": TRIALS}
        )
        try:
            for _ in range(WORKERS):
                workers.start()
            everybody = WORKERS * SLOTS
            busy = wait_for(
                lambda: sum(bool(training.epochs) for training in trainings(workers.diary)) == everybody, seconds=180
            )
            killed = time.monotonic()
            server.kill()
            time.sleep(options.seconds)
            alive = len(workers.alive)
            server.start()
            back = time.monotonic()
            is_in_time = workers.wait(seconds=300)
            seconds = time.monotonic() - back
            codes = [process.poll() for process in workers.processes]
        finally:
            workers.close()
        found, records = trainings(workers.diary), workers.trials()
    epochs = [(training.trial, epoch) for training in found for epoch in training.epochs]
    complete = [record for record in records if record.state == "complete"]
    away = [at for training in found for at in training.epochs.values() if killed < at < back]
    exited = sum(code == 0 for code in codes)
    ended_away = [t for t in found if len(t.epochs) == EPOCHS and killed < max(t.epochs.values()) < back]
    return Table(
        ("", "measured", "promised"),
        [
            exactly("slots that were training when it was killed", everybody if busy else "fewer", everybody),
            exactly("workers alive at its restart", alive, WORKERS),
            exactly("workers that exited with code 0", exited if is_in_time else "none", WORKERS),
            exactly("trials complete", len(complete), TRIALS),
            exactly("of them in the first attempt", sum(record.attempts == 1 for record in complete), TRIALS),
            exactly("epochs in the store", sum(len(record.curve) for record in complete), TRIALS * EPOCHS),
            exactly("epochs trained more than once", len(epochs) - len(set(epochs)), 0),
            figure("epochs trained without a database", str(len(away))),
            figure("trials that ended without a database", str(len(ended_away))),
            figure("from its restart to the end of the search", f"{seconds:.0f} s"),
        ],
    )
