"""Savings and costs of pruning: recorded learning curves, replayed under every pruner.

    python benchmarks/pruning.py [--curves FILE] [--epochs 27] [--size 40] [--subsets 16] [--slots 1 2 8] [--write]
    python benchmarks/pruning.py --record FILE [--trials 200]

The first replays benchmarks/curves.csv.gz and prints the tables of benchmarks/README.md, with --write into it; it
takes a minute and trains nothing. A subset is 40 of a model's configurations in a random order; each slot trains one
epoch of a trial at a time, and a trial has all epochs or the first ones only.
    epochs saved   all epochs of the subset, divided by those that were trained
    regret         percentage points by which the best trial that reached its last epoch is worse than the best one
    lost           number of subsets in which the best trial did not reach its last epoch
The second trains random configurations to their last epoch, with `hpo run`, and writes their curves.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import optuna
import readme

from hpo import open_study
from hpo.search.algorithms import make_pruner
from hpo.search.rungs import Rungs, Verdict
from hpo.study.objectives import Objectives
from hpo.study.spec import StudySpec
from hpo.study.states import Direction

ROOT = Path(__file__).resolve().parents[1]
CURVES = Path(__file__).with_name("curves.csv.gz")
EPOCHS = 27

Curve = list[float]

FASHION = """
data:
  class: models.data:Images
  source: /usr/share/datasets/fashion-mnist
  split: order
  train_samples: {samples}
  validation_samples: 2000
objective: {{metric: val_accuracy, direction: maximize}}
epochs: 27
sampler: random
pruner: none
"""
SHARED = """
  lr: {low: 1.0e-5, high: 1.0e-1, log: true}
  optimizer: [adam, rmsprop, adagrad, sgd]
  batch_size: {low: 32, high: 256}
  dropout: {low: 0.0, high: 0.5}
  activation: [relu, tanh, elu, leaky_relu]
  initializer: [glorot_uniform, he_normal, orthogonal]
  batch_norm: false
  momentum: 0.9
  nesterov: false
  weight_decay: 1.0e-6
  schedule: constant
  warmup: 0.0
  scaling: standard
  flip: none
  shift: 0.0
  rotate: 0.0
  crop: 0.0
  erase: 0.0
  mix_up: 0.0
"""
MODELS = {
    "dnn": (
        "model: models.dnn:DNN" + FASHION.format(samples=10000),
        "space:\n  depth: {low: 1, high: 3}\n  width: {low: 16, high: 256}\n  taper: 1.0\n  residual: false" + SHARED,
    ),
    # A fifth of the images, so that recording ends within an hour.
    "cnn": (
        "model: models.cnn:CNN" + FASHION.format(samples=2000),
        "space:\n  depth: [1, 2]\n  convolutions: 1\n  width: {low: 8, high: 32}\n  growth: 1.0\n  kernel: 3\n"
        "  stride: 1\n  pooling: max\n  activation_place: before_pooling\n  head: {low: 32, high: 128}" + SHARED,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--epochs", type=int, default=EPOCHS, choices=range(1, EPOCHS + 1), metavar=f"1..{EPOCHS}")
    parser.add_argument("--size", type=int, default=40, help="of a subset")
    parser.add_argument("--subsets", type=int, default=16)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--record", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    readme.add_options(parser)
    chosen = parser.parse_args()
    if chosen.record:
        record(chosen.record, trials=chosen.trials)
    else:
        output = readme.Output("pruning", chosen)
        recorded = read(chosen.curves)
        most = min(len(curves) for curves in recorded.values())
        if not 1 <= chosen.size <= most or chosen.subsets < 1:
            parser.error(f"--size should be 1 to {most}, the number of recorded curves, and --subsets 1 or more")
        for model, curves in recorded.items():
            first = [curve[: chosen.epochs] for curve in curves]
            drawn = [random.Random(seed).sample(first, chosen.size) for seed in range(chosen.subsets)]
            counts = f"{len(curves)} configurations of a {model.upper()}, {len(drawn)} subsets of {chosen.size}"
            output.line(f"\n{counts}:\n")
            replay_all(drawn, output, epochs=chosen.epochs, slots=chosen.slots)
        output.write()


# ---- policies


class Policy(Protocol):
    """Decides after each epoch whether a trial continues, and which paused trial is promoted when a slot is free."""

    def goes_on(self, number: int, curve: Curve) -> bool: ...

    def promotable(self, waiting: Mapping[int, int], *, is_last: bool) -> list[int]: ...


class Stopping:
    """One of Optuna's pruners, by its name in study files: a pruned trial is never resumed."""

    def __init__(self, pruner: dict[str, Any] | str, *, epochs: int) -> None:
        spec = StudySpec.model_validate(
            {
                "study": "replay",
                "model": "none:None",
                "data": "none:None",
                "objective": {"metric": "accuracy", "direction": "maximize"},
                "epochs": epochs,
                "pruner": pruner,
            }
        )
        self._study = optuna.create_study(direction="maximize", pruner=make_pruner(spec, ROOT))
        self._trials: dict[int, optuna.Trial] = {}
        self._epochs = epochs

    def goes_on(self, number: int, curve: Curve) -> bool:
        if number not in self._trials:
            self._trials[number] = self._study.ask()
        trial = self._trials[number]
        trial.report(curve[-1], len(curve))
        if len(curve) == self._epochs:
            self._study.tell(trial, max(curve))
            return True
        is_hopeless = bool(trial.should_prune())
        if is_hopeless:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return not is_hopeless

    def promotable(self, waiting: Mapping[int, int], *, is_last: bool) -> list[int]:
        return []


class Promoting:
    """Successive halving that pauses and promotes."""

    def __init__(self, *, eta: int, min_epochs: int) -> None:
        self._rungs = Rungs(eta=eta, first=min_epochs, objectives=Objectives((Direction.MAXIMIZE,)))
        self._ended: set[int] = set()  # too bad for a later promotion

    def goes_on(self, number: int, curve: Curve) -> bool:
        self._rungs.take(number, {epoch: (value,) for epoch, value in enumerate(curve, start=1)})
        verdict = self._rungs.verdict(number, len(curve))
        if verdict == Verdict.PRUNE:
            self._ended.add(number)
        return verdict == Verdict.CONTINUE

    def promotable(self, waiting: Mapping[int, int], *, is_last: bool) -> list[int]:
        really = {number: epoch for number, epoch in waiting.items() if number not in self._ended}
        return self._rungs.promotable(really, is_last=is_last)


HALVINGS = [(3, 3), (3, 1), (2, 3), (2, 1)]  # eta, min_epochs


def policies(epochs: int) -> Iterator[tuple[str, Callable[[], Policy]]]:
    """(the policy as in a study file, a function that creates it)"""
    stopping = partial(Stopping, epochs=epochs)
    for name in ("none", "median", "hyperband"):
        yield name, partial(stopping, name)
    yield "{name: median, n_warmup_steps: 3}", partial(stopping, {"name": "median", "n_warmup_steps": 3})
    for eta, least in HALVINGS:
        options = {"eta": eta, "min_epochs": least}
        named = {"name": "asha", "mode": "stop", **options}
        yield f"{{name: asha, mode: stop, eta: {eta}, min_epochs: {least}}}", partial(stopping, named)
        yield f"{{name: asha, eta: {eta}, min_epochs: {least}}}", partial(Promoting, **options)


# ---- replay


@dataclass
class Outcome:
    """The outcome of one subset under one policy: see the top of the file."""

    saved: float
    regret: float
    is_lost: bool


def replay(curves: Sequence[Curve], policy: Policy, *, slots: int) -> Outcome:
    """Replay trials from their recorded curves; the slots train one epoch each in turn."""
    waiting: dict[int, int] = {}
    reached: dict[int, int] = defaultdict(int)
    running: list[int] = []
    fresh = iter(range(len(curves)))
    done: list[int] = []
    trained = 0
    while True:
        while len(running) < slots:
            ready = policy.promotable(waiting, is_last=False)
            number = ready[0] if ready else next(fresh, None)
            if number is None and not running:
                ready = policy.promotable(waiting, is_last=True)
                number = ready[0] if ready else None
            if number is None:
                break
            waiting.pop(number, None)
            running.append(number)
        if not running:
            break
        for number in list(running):
            reached[number] += 1
            trained += 1
            goes_on = policy.goes_on(number, curves[number][: reached[number]])
            is_done = reached[number] == len(curves[number])
            if is_done:
                done.append(number)
            elif not goes_on:
                waiting[number] = reached[number]
            if is_done or not goes_on:
                running.remove(number)
    values = [max(curve) for curve in curves]
    best = max(values)
    found = max((values[number] for number in done), default=0.0)
    return Outcome(sum(map(len, curves)) / trained, 100 * (best - found), found < best)


def replay_all(drawn: Sequence[Sequence[Curve]], output: readme.Output, *, epochs: int, slots: Sequence[int]) -> None:
    """A line for each policy, with a cell for each number of slots."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    heads = [f"{count} slot{'s' * (count > 1)}: saved, regret mean / worst, lost" for count in slots]
    output.line("| pruner | " + " | ".join(heads) + " |\n|---|" + "---|" * len(slots))
    for name, make in policies(epochs):
        cells = [cell([replay(subset, make(), slots=count) for subset in drawn]) for count in slots]
        output.line(f"| `{name}` | " + " | ".join(cells) + " |")


def cell(outcomes: Sequence[Outcome]) -> str:
    regrets = [outcome.regret for outcome in outcomes]
    saved = statistics.median(outcome.saved for outcome in outcomes)
    lost = sum(outcome.is_lost for outcome in outcomes)
    return f"{saved:.1f}x, {statistics.mean(regrets):.2f} / {max(regrets):.2f}, {lost} of {len(outcomes)}"


# ---- recording


def record(path: Path, *, trials: int) -> None:
    """Train, and write a row per epoch: model, trial, its parameters in JSON, epoch, accuracy."""
    with tempfile.TemporaryDirectory() as folder, gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "trial", "params", "epoch", "accuracy"])
        for model, parts in MODELS.items():
            study = Path(folder, f"{model}.yaml")
            study.write_text(f"study: {model}\n{''.join(parts)}budget: {{trials: {trials}}}\n")
            store = f"sqlite:///{folder}/hpo.db"
            places = ["--project", str(ROOT), "--store", store, "--artifacts", f"{folder}/artifacts"]
            subprocess.run([sys.executable, "-m", "hpo", "run", str(study), *places], cwd=ROOT, check=True)
            for trial in open_study(model, store=store).trials():
                params = json.dumps(dict(trial.params))
                for epoch, metrics in trial.curve if trial.state == "complete" else ():
                    rows.writerow([model, trial.number, params, epoch, round(metrics["val_accuracy"], 4)])


def read(path: Path) -> dict[str, list[Curve]]:
    """The curves by model; those of a trial that diverged before its last epoch are left out."""
    found: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(list))
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            found[row["model"]][row["trial"]].append(float(row["accuracy"]))
    return {model: [c for c in curves.values() if len(c) == EPOCHS] for model, curves in found.items()}


if __name__ == "__main__":
    main()
