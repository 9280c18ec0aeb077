"""Finds the `portfolio` of a model: the points of a random design that are best together on generated data.

    python benchmarks/portfolio.py models.dnn:DNN [--points 32] [--epochs 30] [--keep build/portfolio.json]

All tasks train the same points: the defaults, and random ones. The regret of a point in a task is how far its value is
behind the best one, in units of how far the median is. Points are chosen one after another, each so that the mean
regret of the best of all chosen, over the tasks, is least (as in Feurer et al. 2022, J. Machine Learning Research 23,
section 3.2). What they are worth on other data is told by leaving out each task in turn: the regret of the best of so
many points that the other tasks have chosen, of the defaults with as many random points, and of the defaults alone.

With --search, the portfolio that the class has is compared with its defaults as the first trials of whole searches,
with the default sampler and pruner, on data that had no part in finding it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from experiments.portfolio_tasks import COMPARED, KINDS, TASKS

import hpo

ROOT = Path(__file__).parents[1]
CHOSEN = 4  # points, besides the defaults


def train(model: str, *, points: int, epochs: int) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """The points, and by task the value of each, the higher the better."""
    found: dict[str, list[float]] = {}
    design: list[dict[str, Any]] = []
    for name, task in TASKS[KINDS[model]].items():
        with tempfile.TemporaryDirectory() as folder:
            study = hpo.run(
                study="portfolio",
                model=model,
                data=task.data(Path(folder)),
                objective={"metric": task.metric, "direction": task.direction},
                sampler="random",
                pruner=None,
                epochs=epochs,
                budget={"trials": points, "trial_minutes": 2},
                keep={"checkpoints": 0},
                project=ROOT,
                store=f"sqlite:///{folder}/hpo.db",
                artifacts=f"{folder}/artifacts",
            )
            trials = study.trials()
        sign = 1 if task.direction == "maximize" else -1
        found[name] = [float("-inf") if trial.value is None else sign * trial.value for trial in trials]
        design = [dict(trial.params) for trial in trials]
        print(f"{name}: best {max(found[name]):.3f}, defaults {found[name][0]:.3f}", flush=True)
    return design, found


def regrets(values: dict[str, list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(tasks, points)."""
    rows = []
    for of_task in values.values():
        best, median = max(of_task), float(np.median(of_task))
        rows.append([min(3.0, (best - value) / max(best - median, 1e-9)) for value in of_task])
    return np.array(rows)


def chosen(regret: np.ndarray[Any, np.dtype[np.float64]], count: int) -> list[int]:
    """Points besides the defaults, which are the first."""
    found = [0]
    for _ in range(count):
        rest = [point for point in range(regret.shape[1]) if point not in found]
        found.append(min(rest, key=lambda point: float(regret[:, [*found, point]].min(1).mean())))
    return found[1:]


def compare(model: str, *, trials: int, seeds: int, epochs: int) -> None:
    """Print the best values of searches that begin with the defaults, or with the portfolio too."""
    print("data | seed | best of 6 and of all trials from defaults | from the portfolio")
    gains = []
    for source, (data, metric) in COMPARED[KINDS[model]].items():
        for seed in range(seeds):
            best = []
            for first_trial in ("defaults", "portfolio"):
                with tempfile.TemporaryDirectory() as folder:
                    study = hpo.run(
                        study="compared",
                        model=model,
                        data={**data, "split_seed": seed},
                        objective={"metric": metric, "direction": "maximize"},
                        first_trial=first_trial,
                        epochs=epochs,
                        budget={"trials": trials},
                        keep={"checkpoints": 0},
                        seed=seed,
                        project=ROOT,
                        store=f"sqlite:///{folder}/hpo.db",
                        artifacts=f"{folder}/artifacts",
                    )
                    values = [max((m[metric] for _, m in trial.curve), default=-1.0) for trial in study.trials()]
                best.append((max(values[:6]), max(values)))
            gains.append([theirs - ours for ours, theirs in zip(*best, strict=True)])
            shown = " | ".join(f"{early:.4f} {late:.4f}" for early, late in best)
            print(f"{source} | {seed} | {shown}", flush=True)
    early, late = np.mean(gains, axis=0)
    print(f"the portfolio is ahead by {early:.4f} after 6 trials and by {late:.4f} after {trials}, on average")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(KINDS))
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--search", type=int, metavar="SEEDS", help="Compare searches, with so many seeds.")
    parser.add_argument("--keep", type=Path, help="Goes on with the values of this file, or writes them.")
    options = parser.parse_args()
    if options.search:
        compare(options.model, trials=16, seeds=options.search, epochs=options.epochs)
        return
    if options.keep is not None and options.keep.exists():
        design, values = json.loads(options.keep.read_text())
    else:
        design, values = train(options.model, points=options.points, epochs=options.epochs)
        if options.keep is not None:
            options.keep.write_text(json.dumps([design, values]))
    regret = regrets(values)
    tasks, points = regret.shape
    rng = np.random.default_rng(0)
    print("points beside the defaults | portfolio of the other tasks | random points | defaults alone")
    for count in range(1, CHOSEN + 1):
        left_out, at_random = [], []
        for task in range(tasks):
            others = np.delete(regret, task, 0)
            left_out.append(regret[task, [0, *chosen(others, count)]].min())
            drawn = [rng.choice(points - 1, count, replace=False) + 1 for _ in range(200)]
            at_random.append(np.mean([regret[task, [0, *some]].min() for some in drawn]))
        print(f"{count} | {np.mean(left_out):.3f} | {np.mean(at_random):.3f} | {regret[:, 0].mean():.3f}")
    for point in chosen(regret, CHOSEN):
        print(json.dumps({key: float(f"{v:.2g}") if isinstance(v, float) else v for key, v in design[point].items()}))


if __name__ == "__main__":
    main()
