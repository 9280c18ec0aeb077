"""GPUs that workers of one machine hand out to trials while they are killed at random: wrong or doubly used ones.

The GPUs are simulated, everything else is real. Each worker may use some of them, drawn at random when it starts; what
it may use and another one holds, it leaves to that one. On each GPU train as many trials at a time as the study file
says. The diary has the GPU that each trial's process saw, and when.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from experiments.databases import KINDS, new_store
from experiments.table import Row, Table, exactly, figure
from experiments.workers import Training, Workers, trainings
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_workers, trials

GPUS, AT_A_TIME, WORKERS, OF_A_WORKER = 4, 2, 4, 2
EPOCH_SECONDS = 0.05
LONGEST_SECONDS = 1800.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=KINDS, default="postgresql")
    parser.add_argument("--hand-outs", type=int, default=1000)
    parser.add_argument("--kill-every", type=float, default=4.0, help="seconds, on average [default: 4]")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    with tempfile.TemporaryDirectory(prefix="hpo-devices-") as folder, new_store(options.store, Path(folder)) as url:
        workers = Workers(
            Path(folder),
            url,
            slots=None,
            seconds=EPOCH_SECONDS,
            environment={"HPO_SIMULATED_GPUS": f"{Path(folder).name}:{GPUS}x16", "HPO_TIMING": "heartbeat=1,lease=5"},
            epochs=1,
            budget={"trials": options.hand_outs},
            retries={"crash": 1000},
            resources={"accelerator": "gpu", "trials_per_device": AT_A_TIME},
        )
        try:
            allowed, kills = _disturb(workers, options)
        finally:
            workers.close()
        return Table(("", "measured", "promised"), _rows(workers, options, allowed, kills))


def _disturb(workers: Workers, options: argparse.Namespace) -> tuple[dict[int, set[str]], int]:
    """Kill and start workers until all trials have ended: the GPUs that each might use, by its process; the kills."""
    draw, allowed, kills = random.Random(options.seed), dict[int, set[str]](), 0
    end, next_kill, next_look = time.monotonic() + LONGEST_SECONDS, 0.0, 0.0
    while time.monotonic() < end:
        while len(workers.alive) < WORKERS:
            names = draw.sample(range(GPUS), OF_A_WORKER)
            process = workers.start({"CUDA_VISIBLE_DEVICES": ",".join(map(str, names))})
            allowed[process.pid] = set(map(str, names))
        now = time.monotonic()
        if now > next_kill:
            next_kill = now + draw.expovariate(1 / options.kill_every)
            draw.choice(workers.alive).kill()
            kills += 1
        if now > next_look:
            next_look = now + 2
            ended = sum(record.state == "complete" for record in workers.trials())
            print(f"{ended} trials complete, {kills} workers killed", file=sys.stderr, flush=True)
            if ended >= options.hand_outs:
                break
        time.sleep(0.1)
    return allowed, kills


@dataclass(frozen=True)
class HandOut:
    """A trial's attempt, as the store has it."""

    trial: str
    device: str
    worker: int  # its process
    began: float  # monotonic seconds


def _rows(workers: Workers, options: argparse.Namespace, allowed: dict[int, set[str]], kills: int) -> list[Row]:
    offset = time.time() - time.monotonic()
    with Store.open(workers.url) as store, store.read() as connection:
        statement = (
            select(trials.c.number, hpo_attempts.c.device, hpo_workers.c.pid, hpo_attempts.c.started)
            .join(hpo_attempts, hpo_attempts.c.trial_id == trials.c.trial_id)
            .join(hpo_workers, hpo_workers.c.worker_id == hpo_attempts.c.worker_id)
        )
        handed_out = [
            HandOut(str(number), device.removeprefix("gpu "), pid, started - offset)
            for number, device, pid, started in connection.execute(statement)
        ]
        complete = connection.scalar(select(func.count()).where(trials.c.state == "COMPLETE")) or 0
    found = [(one, _hand_out_of(one, handed_out)) for one in trainings(workers.diary)]
    foreign = [one for one in handed_out if one.device not in allowed[one.worker]]
    return [
        exactly("trials complete", complete, options.hand_outs),
        figure("hand-outs", str(len(handed_out))),
        figure("workers killed", str(kills)),
        exactly("trials on another GPU than the store has", sum(one.devices != out.device for one, out in found), 0),
        exactly("trials on a GPU that their worker may not use", len(foreign), 0),
        exactly(f"moments with more than {AT_A_TIME} trials on a GPU", _too_many([one for one, _ in found]), 0),
        exactly("moments with trials of two workers on a GPU", _of_two_workers(found), 0),
    ]


def _hand_out_of(training: Training, handed_out: list[HandOut]) -> HandOut:
    """The attempt that the training belongs to: the trial's last one that began before it."""
    number = training.trial.rpartition("-")[2].lstrip("0") or "0"
    before = [one for one in handed_out if one.trial == number and one.began <= training.began]
    return max(before, key=lambda one: one.began)


def _too_many(found: list[Training]) -> int:
    """How often a trial began on a GPU that had as many as it may have."""
    moments = defaultdict[str, list[tuple[float, int]]](list)
    for one in found:
        moments[one.devices] += [(one.began, 1), (one.ended, -1)]
    counts = [list(itertools.accumulate(step for _, step in sorted(of))) for of in moments.values()]
    return sum(count > AT_A_TIME for of in counts for count in of)


def _of_two_workers(found: list[tuple[Training, HandOut]]) -> int:
    """How often a trial began on a GPU while one of another worker trained there."""
    in_order = sorted(found, key=lambda one: one[0].began)
    return sum(
        later.devices == earlier.devices and later.began < earlier.ended and ours.worker != theirs.worker
        for (earlier, ours), (later, theirs) in itertools.combinations(in_order, 2)
    )
