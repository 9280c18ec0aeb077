"""Ten thousand tiny trials by one worker: does its memory grow, or its descriptors, processes and temporary files?

The worker, its servers and its trial processes are weighed twice a second. Each figure is the median of a tenth of the
trials: the second tenth is compared with the last one, since the first one also warms up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table, exactly, figure
from experiments.workers import Workers

MIB = 2**20
TENTHS = 10
SECONDS_BETWEEN = 0.5
# A worker keeps of each trial what its sampler learns from: parameters, curve and state.
MOST_BYTES_A_TRIAL = 4_096
LARGEST_RATIO = 1.1


@dataclass(frozen=True)
class Weight:
    """The worker and the processes below it at a moment."""

    trials: int
    worker_mib: float
    others_mib: float  # of the servers and trials: what is not shared with others
    descriptors: int
    processes: int
    files: int  # temporary ones


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--store", choices=KINDS, default="sqlite")


def measure(options: argparse.Namespace) -> Table:
    with tempfile.TemporaryDirectory(prefix="hpo-tiny-") as folder, new_store(options.store, Path(folder)) as url:
        temporary = Path(folder) / "temporary"
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        workers = Workers(
            Path(folder), url, slots=1, seconds=0.0, epochs=1, budget={"trials": options.trials},
            model="slow:Tiny", data="slow:Points",
        )  # fmt: skip
        started = time.monotonic()
        try:
            workers.start()
            weights = _watch(workers, temporary)
        finally:
            workers.close()
        seconds = time.monotonic() - started
        complete = sum(record.state == "complete" for record in workers.trials())
    rows = [
        exactly("trials complete", complete, options.trials),
        figure("trials a second", f"{options.trials / seconds:.1f}"),
    ]
    return Table(("", "measured", "promised"), [*rows, *_compared(weights, options.trials)])


def _watch(workers: Workers, temporary: Path) -> list[Weight]:
    weights = []
    worker = psutil.Process(workers.processes[0].pid)
    folders = workers.folder / "artifacts"
    while workers.alive:
        time.sleep(SECONDS_BETWEEN)
        begun = sum(len(list(study.iterdir())) for study in folders.glob("*")) if folders.exists() else 0
        try:
            below = worker.children(recursive=True)
            weights.append(
                Weight(
                    begun,
                    worker.memory_full_info().uss / MIB,
                    sum(process.memory_full_info().uss for process in below) / MIB,
                    sum(process.num_fds() for process in [worker, *below]),
                    1 + len(below),
                    sum(len(files) + len(inner) for _, inner, files in os.walk(temporary)),
                )
            )
        except psutil.Error:  # one ended meanwhile
            continue
        if len(weights) % 100 == 1:
            print(weights[-1], file=sys.stderr, flush=True)
    return weights


def _compared(weights: list[Weight], trials: int) -> list[Row]:
    def median(of: Callable[[Weight], float], tenth: int) -> float:
        low, high = trials * tenth / TENTHS, trials * (tenth + 1) / TENTHS
        within = [of(weight) for weight in weights if low <= weight.trials < high]
        later = [of(weight) for weight in weights if weight.trials >= low]  # of a few trials, a tenth may pass unseen
        return statistics.median(within or later[:1] or [of(weights[-1])])

    rows = []
    between = trials * (TENTHS - 2) / TENTHS  # from the middle of the second tenth to the middle of the last
    for what, of, allowed in (
        ("memory of the worker, MiB", lambda weight: weight.worker_mib, between * MOST_BYTES_A_TRIAL / MIB),
        ("memory of its other processes, MiB", lambda weight: weight.others_mib, 0.0),
        ("open descriptors", lambda weight: float(weight.descriptors), 0.0),
        ("processes", lambda weight: float(weight.processes), 0.0),
        ("temporary files", lambda weight: float(weight.files), 0.0),
    ):
        early, late = median(of, 1), median(of, TENTHS - 1)
        most = LARGEST_RATIO * early + allowed
        cells = (f"{what}, in the second and the last tenth", f"{early:.0f}, {late:.0f}", f"at most {most:.0f}")
        rows.append(Row(cells, () if late <= most else ("it grows",)))
    return rows
