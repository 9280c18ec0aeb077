"""A search on two nodes of Slurm, with a limit of a minute for each job, and a preemption by a job of higher priority.

A job whose time is up, or whose node is wanted, hands back its trials; the next task of the array goes on. The diary of
the trials shows whether an epoch was begun twice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from experiments.databases import postgres
from experiments.engines import Launched, short_folder, slurm_cluster, trained_again
from experiments.table import Table, exactly, figure, promise
from experiments.workers import trained_twice_at_once, wait_for

EPOCHS, EPOCH_SECONDS = 12, 0.5
OPTIONS = ("partition=low", "time=1", "warning=30", "shared=true")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=24)


def measure(options: argparse.Namespace) -> Table:
    with (
        postgres() as server,
        short_folder() as folder,
        slurm_cluster(folder / "slurm") as slurm,
        tempfile.TemporaryDirectory(prefix="hpo-slurm-") as name,
    ):
        study = Launched(
            Path(name),
            server.create_database(),
            environment=dict(slurm.environment),
            seconds=EPOCH_SECONDS,
            epochs=EPOCHS,
            budget={"trials": options.trials},
        )
        started = time.monotonic()
        process = study.launch("slurm", *OPTIONS)
        wait_for(lambda: len({training.pid for training in study.attempts() if training.epochs}) >= 2, seconds=120)
        slurm.run("sbatch", "--partition=high", "--nodes=1", "--wrap=sleep 5", f"--output={folder}/high.log")
        output, _ = process.communicate(timeout=900)
        if process.returncode:
            print(output, file=sys.stderr)
        records, found = study.trials(), study.attempts()
        codes = Counter(
            int(line.split()[1])
            for file in (Path(name) / "artifacts" / ".workers").glob("*.exits")
            for line in file.read_text().splitlines()
        )
        others = {code: count for code, count in codes.items() if code not in (0, 75)}
        return Table(
            ("", "measured", "promised"),
            [
                figure("seconds", f"{time.monotonic() - started:.0f}"),
                exactly("trials complete", sum(record.state == "complete" for record in records), options.trials),
                exactly("trials", len(records), options.trials),
                figure("attempts", str(sum(record.attempts for record in records))),
                promise("trained twice at once", trained_twice_at_once(found), 0),
                promise("epochs trained twice", trained_again(found), 0),
                figure("workers that handed back, and exited with 75", str(codes[75])),
                exactly("other exit codes than 0 and 75", others, {}),
            ],
        )
