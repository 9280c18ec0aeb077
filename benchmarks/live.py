"""What it costs to watch a store in which 64 trials run: `hpo top` on a terminal of its own, twice a second.

    python benchmarks/live.py [--running 64] [--ended 1000] [--seconds 60] [--write]

Prints the table of benchmarks/README.md, with --write into it. The rows of the store are as workers write them; while
it is watched, each trial reports an epoch every two seconds, and each worker a heartbeat.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import readme
from looking import fill
from sqlalchemy import event, func, insert, select, update

from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_attempts, hpo_epochs, hpo_trials, hpo_workers, trial_intermediate_values, trials

ROOT = Path(__file__).resolve().parents[1]
WORKERS, EPOCHS, SECONDS_OF_AN_EPOCH = 8, 30, 2.0
START_SECONDS = 10.0  # of the process, before it is measured
ROWS, COLUMNS = 90, 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--ended", type=int, default=1000, help="complete trials beside them")
    parser.add_argument("--seconds", type=float, default=60.0)
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("live", options)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/hpo.db"
        fill(url, studies=1, trials=options.ended)
        with Store.open(url) as store:
            ids = begin(store, options.running)
            with reporting(store, ids):
                statements, seconds = a_look(store)
                share, looks = watched(url, store, options.seconds)
    output.line("| `hpo top`, twice a second | |\n|---|---|")
    output.line(f"| trials that run, and that have ended | {options.running}, {options.ended:,} |")
    output.line(f"| of a core | {share:.1%} |")
    output.line(f"| looks a second | {looks:.2f} |")
    output.line(f"| ms of its processor for a look, drawn | {1000 * share / looks:.1f} |")
    output.line(f"| statements a look | {statements} |")
    output.line(f"| ms a look, median | {1000 * seconds:.1f} |")
    output.write()


def begin(store: Store, running: int) -> list[int]:
    """Trials that run, of WORKERS workers, with curves; their ids."""
    ids = []
    with store.write() as connection:
        known = connection.scalar(select(func.count()).select_from(trials)) or 0
        workers = [
            connection.execute(
                insert(hpo_workers).values(
                    host=f"node{number}", pid=1, slots=running // WORKERS, started=db_now(), beat=db_now()
                )
            ).inserted_primary_key[0]  # type: ignore[index]
            for number in range(WORKERS)
        ]
        for number in range(running):
            trial = {"study_id": 1, "number": known + number, "state": "RUNNING"}
            trial_id = connection.execute(insert(trials).values(trial)).inserted_primary_key[0]  # type: ignore[index]
            ids.append(int(trial_id))
            connection.execute(
                insert(hpo_trials).values(trial_id=trial_id, config=json.dumps({"params": {"x0": 0.5}, "epochs": 1000}))
            )
            connection.execute(
                insert(hpo_attempts).values(
                    trial_id=trial_id,
                    number=1,
                    worker_id=workers[number % WORKERS],
                    slot=number // WORKERS,
                    device="cuda:0",
                    started=db_now(),
                    lease_until=db_now() + 3600,
                )
            )
        for epoch in range(1, EPOCHS + 1):
            report(connection, ids, epoch)
    return ids


def report(connection: Any, ids: list[int], epoch: int) -> None:
    """Each of these trials reports an epoch."""
    score = epoch / (epoch + 10)
    metrics = json.dumps({"score": score, "train_loss": 1 - score, "val_loss": 1.1 - score})
    curve = [
        {
            "trial_id": one,
            "step": epoch,
            "intermediate_value": score + one % 7 / 100,
            "intermediate_value_type": "FINITE",
        }
        for one in ids
    ]
    connection.execute(insert(trial_intermediate_values), curve)
    rows = [{"trial_id": one, "epoch": epoch, "attempt": 1, "metrics": metrics, "seconds": 2.0 * epoch} for one in ids]
    connection.execute(insert(hpo_epochs), rows)


@contextmanager
def reporting(store: Store, ids: list[int]) -> Iterator[None]:
    """Meanwhile the trials report their epochs, an eighth of them at a time, and the workers their heartbeats."""
    ended = threading.Event()

    def write() -> None:
        epochs = dict.fromkeys(range(WORKERS), EPOCHS)
        while not ended.is_set():
            for worker in epochs:
                epochs[worker] += 1
                with store.write() as connection:
                    report(connection, ids[worker::WORKERS], epochs[worker])
                    connection.execute(update(hpo_workers).values(beat=db_now()))
                ended.wait(SECONDS_OF_AN_EPOCH / WORKERS)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def a_look(store: Store) -> tuple[int, float]:
    """Statements, and the median of the seconds, of a look into the store."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    with Store.open(store.url) as own:
        reader = LiveReader(own)
        reader.look()  # the first one builds the statements, and forecasts
        event.listen(own.engine, "before_cursor_execute", note)
        reader.look()
        event.remove(own.engine, "before_cursor_execute", note)
        took = []
        for _ in range(20):
            started = time.perf_counter()
            reader.look()
            took.append(time.perf_counter() - started)
    return len(found), statistics.median(took)


def watched(url: str, store: Store, seconds: float) -> tuple[float, float]:
    """(share of a core, looks a second) of `hpo top` on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    looks = Path(url.removeprefix("sqlite:///")).parent / "looks"
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTED, str(looks), "top", "--store", url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    os.close(theirs)
    threading.Thread(target=drain, args=(ours,), daemon=True).start()
    time.sleep(START_SECONDS)
    measured = psutil.Process(process.pid)
    before, count, started = measured.cpu_times(), looks.stat().st_size, time.perf_counter()
    time.sleep(seconds)
    after, counted, took = measured.cpu_times(), looks.stat().st_size, time.perf_counter() - started
    assert process.poll() is None, "hpo top has ended"
    process.terminate()
    process.wait()
    spent = after.user + after.system - before.user - before.system
    return spent / took, (counted - count) / took


# `hpo top`, which notes each look by a byte in a file.
COUNTED = """
import sys
from hpo.service.live import LiveReader
file, look = open(sys.argv.pop(1), "ab", buffering=0), LiveReader.look
def counted(self):
    file.write(b".")
    return look(self)
LiveReader.look = counted
from hpo.__main__ import main
sys.argv[0] = "hpo"
main()
"""


def drain(terminal: int) -> None:
    """Read what is drawn, as a terminal does."""
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        return


if __name__ == "__main__":
    main()
