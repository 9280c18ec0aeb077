"""A search on two nodes of Ray, against the same by local workers: as it is, a node killed, a node drained.

A kill is a power failure: every process of the node ends at once. A drain is what a node gets before its machine is
taken away. The diary of the trials shows whether one was trained twice at once, and whether an epoch was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from experiments.databases import postgres
from experiments.engines import Launched, Ray, ray_cluster, short_folder, trained_again
from experiments.table import Row, Table
from experiments.workers import PROJECT, trained_twice_at_once, wait_for

EPOCHS, EPOCH_SECONDS = 4, 0.6
WHAT = {"nothing": "Ray", "kill": "Ray, a node killed", "drain": "Ray, a node drained"}
MOST_OVERHEAD = 4.0
HEADER = (
    "workers", "s", "complete", "attempts more than trials", "trained twice at once", "epochs trained again",
    "s until handed back",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What is counted after a search."""

    seconds: float
    complete: int
    more: int
    at_once: int
    again: int
    handed_back: float | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--hand-back-seconds", type=float, default=5.0, help="promised of a drain [default: 5]")
    parser.add_argument("--only", nargs="+", choices=WHAT, default=list(WHAT), help="what happens [default: all]")


def measure(options: argparse.Namespace) -> Table:
    rows = []
    with postgres() as server:
        local = None
        if "nothing" in options.only:
            local = play(server.create_database(), options.trials, None, "nothing")
            rows.append(_row("local", local, options.trials))
        for what in options.only:
            with short_folder() as folder, ray_cluster(folder) as ray:
                found = play(server.create_database(), options.trials, ray, what)
            print(what, found, file=sys.stderr, flush=True)
            rows.append(
                _row(
                    WHAT[what],
                    found,
                    options.trials,
                    local=local if what == "nothing" else None,
                    what=what,
                    hand_back_seconds=options.hand_back_seconds,
                )
            )
    return Table(HEADER, rows)


def _row(
    name: str,
    found: Outcome,
    trials: int,
    *,
    local: Outcome | None = None,
    what: str = "nothing",
    hand_back_seconds: float = 5.0,
) -> Row:
    lost = 1 if what == "kill" else 0
    wrong = {
        f"{found.complete} of {trials} complete": found.complete != trials,
        f"{found.more} attempts more": found.more > lost + (1 if what == "drain" else 0),
        f"{found.at_once} trained twice at once": found.at_once > 0,
        f"{found.again} epochs trained again": what != "kill" and found.again > 0,
        f"handed back after {found.handed_back} s": what == "drain" and (found.handed_back or 99) > hand_back_seconds,
        "slower than local by more than 4 s": local is not None and found.seconds - local.seconds > MOST_OVERHEAD,
    }
    cells = (
        name, f"{found.seconds:.1f}", f"{found.complete} of {trials}", str(found.more), str(found.at_once),
        str(found.again), "" if found.handed_back is None else f"{found.handed_back:.1f}",
    )  # fmt: skip
    return Row(cells, tuple(words for words, is_wrong in wrong.items() if is_wrong))


def play(url: str, trials: int, ray: Ray | None, what: str) -> Outcome:
    """One search."""
    with tempfile.TemporaryDirectory(prefix="hpo-ray-") as name:
        study = Launched(Path(name), url, seconds=EPOCH_SECONDS, epochs=EPOCHS, budget={"trials": trials})
        started = time.monotonic()
        if ray is None:
            process = study.launch("local", "cores=1")
        else:
            process = study.launch("ray", f"address={ray.address}", f"project={PROJECT}", "shared=true")
        handed_back = _interfere(study, ray, what) if ray is not None else None
        output, _ = process.communicate(timeout=600)
        seconds = time.monotonic() - started
        if process.returncode:
            print(output, file=sys.stderr)
        records, found = study.trials(), study.attempts()
        return Outcome(
            seconds=seconds,
            complete=sum(record.state == "complete" for record in records),
            more=sum(record.attempts for record in records) - len(records),
            at_once=trained_twice_at_once(found),
            again=trained_again(found),
            handed_back=handed_back,
        )


def _interfere(study: Launched, ray: Ray, what: str) -> float | None:
    """Kill or drain a node when both have begun; seconds until the worker of a drained one has ended."""
    if what == "nothing":
        return None
    wait_for(lambda: len({training.pid for training in study.attempts() if training.epochs}) >= 2, seconds=120)
    time.sleep(2)
    place = next(iter(ray.nodes))
    if what == "kill":
        ray.kill_node(place)
        return None
    workers = ray.workers_on(place)
    assert workers, f"no worker runs on {place}"
    started = time.monotonic()
    ray.drain_node(place)
    psutil.wait_procs(workers, timeout=60)
    return time.monotonic() - started
