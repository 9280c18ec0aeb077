"""Trials of two processes on the CPU: the time from a trial's claim to its first step, after the first trial."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from statistics import median

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table, exactly, promise
from experiments.workers import Workers

MOST_SECONDS = 0.5
LONGEST_SECONDS = 600.0
_FIRST_STEP = re.compile(r"trial (\d+): first step (\S+) s after its claim")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=KINDS, default="sqlite")
    parser.add_argument("--trials", type=int, default=20, help="in sequence")


def measure(options: argparse.Namespace) -> Table:
    with tempfile.TemporaryDirectory(prefix="hpo-ranks-") as folder, new_store(options.store, Path(folder)) as url:
        workers = Workers(
            Path(folder),
            url,
            slots=1,
            seconds=0.1,
            environment={"HPO_VERBOSE": "1"},
            epochs=2,
            budget={"trials": options.trials},
            resources={"accelerator": "cpu", "devices_per_trial": 2},
        )
        try:
            worker = workers.start()
            workers.wait(seconds=LONGEST_SECONDS)
            seconds = {int(number): float(text) for number, text in _FIRST_STEP.findall(workers.log(worker))}
            complete = sum(record.state == "complete" for record in workers.trials())
        finally:
            workers.close()
    later = [seconds[number] for number in sorted(seconds)[1:]]
    rows: list[Row] = [
        exactly("trials of two processes complete", complete, options.trials),
        promise("s from claim to first step, median after the first trial", median(later), MOST_SECONDS, digits=2),
        promise("s from claim to first step, the longest of these", max(later), MOST_SECONDS, digits=2),
    ]
    return Table(("", "measured", "promised"), rows)
