"""File calls that fail: studies of which a worker's or a trial's calls fail as the seed of each says.

A call to open, rename, remove, list, look at or flush a file in a study's folder fails with an error such as 'No space
left on device', once or several times in a row; the same seed fails the same calls. The worker is a real one, with a
study of three trials a seed. Seeds whose study breaks a promise are printed: `--seed N --runs 1` repeats one of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.table import Table, exactly, figure
from hpo.ipc.fork_server import ForkServer
from hpo.store import child_environment

if TYPE_CHECKING:
    from projects.faulty_runs import Outcome

TESTS = Path(__file__).parents[2] / "tests"
A_WORKER = 10  # studies; each has a process of its own while it is open


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=500, help="studies, each with its own seed")
    parser.add_argument("--seed", type=int, default=0, help="of the first study")


def measure(options: argparse.Namespace) -> Table:
    sys.path.insert(0, str(TESTS))  # the faults are those of the tests
    from projects.faulty_runs import TRIALS

    outcomes: dict[int, Outcome] = {}
    tracebacks, codes, began = 0, 0, time.monotonic()
    for code, output, found in _batches(options.seed, options.runs):
        outcomes |= found
        codes += code != 0
        tracebacks += output.count("Traceback")
    broken = [seed for seed, outcome in outcomes.items() if outcome.failed or outcome.lost or outcome.tracebacks]
    for seed in broken:
        print(f"seed {seed}: {outcomes[seed].plan}", *outcomes[seed].failures, sep="\n  ", file=sys.stderr)
    found_all = list(outcomes.values())
    again = [outcome.attempts - TRIALS for outcome in found_all]
    return Table(
        ("", "measured", "promised"),
        [
            figure("studies, each with another seed", str(len(outcomes))),
            figure("file calls that failed", str(sum(len(outcome.failures) for outcome in found_all))),
            exactly("tracebacks of workers", tracebacks, 0),
            exactly("tracebacks in the logs of trials", sum(outcome.tracebacks for outcome in found_all), 0),
            exactly("workers that ended with an error", codes, 0),
            exactly("trials that failed for good", sum(len(outcome.failed) for outcome in found_all), 0),
            exactly("results that were lost", sum(outcome.lost for outcome in found_all), 0),
            figure("attempts that the disk ended", str(sum(again))),
            figure("at most in one study", str(max(again, default=0))),
            figure("the whole took", f"{(time.monotonic() - began) / 60:.0f} minutes"),
        ],
    )


def _batches(first: int, runs: int) -> Iterator[tuple[int, str, dict[int, Outcome]]]:
    from projects.faulty_runs import run_with_faults

    server = ForkServer.start(child_environment(None))
    try:
        for start in range(first, first + runs, A_WORKER):
            with tempfile.TemporaryDirectory(prefix="hpo-files-") as folder:
                seeds = range(start, min(start + A_WORKER, first + runs))
                done = run_with_faults(Path(folder), seeds, server=server)
            yield done.code, done.output, done.outcomes
    finally:
        server.stop()
