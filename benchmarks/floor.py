"""The time that any executor needs for the tabular search of `search.py`, compared with the whole of `hpo run`.

    python benchmarks/floor.py [--seeds 0 1 2] [--write]

A search by `hpo run`, and then, separately:
    steps       every epoch that it trained, by a hand-written loop with the same networks, batches and fused
                optimizers, in two processes of one thread with half of the trials each
    import      of torch, in those processes
    proposals   as many of Optuna's TPE as the search had trials, in memory
The floor is import and steps, one after the other on both cores, and half of the proposals. A hand-written loop does
not validate, and cannot stop, save or resume a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import readme
from experiments.contest.measure import PINNED, SearchError, Task, environment, search_in

ROWS = 398  # of the training part
FEATURES = 30
PARAMS = ("layers", "units", "normalization", "dropout", "activation", "initializer", "lr", "optimizer", "batch_size")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    readme.add_options(parser)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(json.loads(options.train.read_text()))))
        return
    output = readme.Output("floor", options)
    output.line(
        "| seed | `hpo run` s | of it processor s | steps | steps by hand s | import torch s | proposals s | floor s |"
    )
    output.line("|---|---|---|---|---|---|---|---|")
    found = [measure(seed) for seed in options.seeds]
    for seed, row in zip(options.seeds, found, strict=True):
        output.line(f"| {seed} | " + " | ".join(shown(row)) + " |")
    medians = [statistics.median(values) for values in zip(*found, strict=True)]
    output.line("| **median** | " + " | ".join(shown(medians)) + " |")
    output.write()


def shown(row: list[float]) -> list[str]:
    return [f"{value:,.0f}" if place == 2 else f"{value:.1f}" for place, value in enumerate(row)]


def measure(seed: int) -> list[float]:
    """Seconds and steps, in the order of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            whole = search_in(folder, "hpo", Task("tabular", seed))
        except SearchError as error:
            sys.exit(str(error))
        jobs = trained(folder / "hpo.db")
        halves = []
        for part in range(2):
            path = folder / f"part{part}.json"
            path.write_text(json.dumps(jobs[part::2]))
            command = [sys.executable, __file__, "--train", str(path)]
            alone = environment(Path(os.devnull)) | PINNED
            halves.append(subprocess.Popen(command, env=alone, stdout=subprocess.PIPE, text=True))
        by_hand = [json.loads(half.communicate()[0]) for half in halves]
    steps = max(half["seconds"] for half in by_hand)
    importing = max(half["import"] for half in by_hand)
    proposing = propose(len(jobs), seed)
    count = sum(half["steps"] for half in by_hand)
    return [whole.seconds, whole.processor, count, steps, importing, proposing, importing + steps + proposing / 2]


def trained(store: Path) -> list[dict[str, Any]]:
    """The parameters of each trial, and its number of epochs."""
    import hpo

    trials = hpo.open_study("contest", store=str(store)).trials()
    return [{**{name: trial.params[name] for name in PARAMS}, "epochs": len(trial.curve)} for trial in trials]


def train(jobs: list[dict[str, Any]]) -> dict[str, float]:
    """Train each job's network by a hand-written loop."""
    started = time.perf_counter()
    import torch

    importing = time.perf_counter() - started
    from experiments.contest.nets import TabularNet

    torch.set_num_threads(1)
    inputs, classes = torch.randn(ROWS, FEATURES), torch.randint(0, 2, (ROWS,))
    started, steps = time.perf_counter(), 0
    for job in jobs:
        epochs, size = job.pop("epochs"), job.pop("batch_size")
        model = TabularNet(FEATURES, fused=True, **job)
        optimizer = model.configure_optimizers()
        for _ in range(epochs):
            order = torch.randperm(ROWS)
            rows, targets = inputs[order], classes[order]
            for start in range(0, ROWS, size):
                found = model.network(rows[start : start + size])
                loss = torch.nn.functional.cross_entropy(found, targets[start : start + size])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                steps += 1
    return {"seconds": time.perf_counter() - started, "import": importing, "steps": steps}


def propose(count: int, seed: int) -> float:
    """Processor seconds of so many proposals of Optuna's TPE, each completed with an arbitrary value."""
    import optuna
    from experiments.contest.optuna_way import BATCH_SIZES, suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    seconds = 0.0
    for _ in range(count):
        trial = study.ask()
        started = time.process_time()
        suggest(trial, "tabular")
        trial.suggest_categorical("batch_size", BATCH_SIZES["tabular"])
        seconds += time.process_time() - started
        study.tell(trial, trial.params["dropout"])
    return seconds


if __name__ == "__main__":
    main()
