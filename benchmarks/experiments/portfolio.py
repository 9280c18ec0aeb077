"""Finds the `portfolio` of a model: the points of a random design that are best together on generated data.

    python benchmarks/experiments/portfolio.py models.dnn:DNN [--points 32] [--epochs 30] [--keep build/portfolio.json]

All tasks train the same points: the defaults, and random ones. The regret of a point in a task is how far its value is
behind the best one, in units of how far the median is. Points are chosen one after another, each so that the mean
regret of the best of all chosen, over the tasks, is least (as in Feurer et al. 2022, J. Machine Learning Research 23,
section 3.2). What they are worth on other data is told by leaving out each task in turn: the regret of the best of so
many points that the other tasks have chosen, of the defaults with as many random points, and of the defaults alone.

With --search, the portfolio that the class has is compared with its defaults as the first trials of whole searches,
with the default sampler and pruner, on tables of scikit-learn that had no part in finding it.

The data are generated here, or ship with scikit-learn, and are none of those of benchmarks/rivals.py and of studies/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import (
    load_wine,
    make_classification,
    make_friedman1,
    make_friedman2,
    make_friedman3,
    make_hastie_10_2,
    make_moons,
)

import hpo

ROOT = Path(__file__).parents[2]
CHOSEN = 4  # points, besides the defaults


def _table(made: tuple[Any, Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        frame = pd.DataFrame(np.asarray(made[0])).add_prefix("x")
        frame["target"] = made[1]
        frame.to_csv(folder / "table.csv", index=False)
        return folder / "table.csv"

    return write


def _classes(**keys: Any) -> Callable[[Path], Path]:
    x, y = make_classification(**keys)
    return _table((x, [f"c{label}" for label in y]))


def _sequences(kind: str, seed: int) -> Callable[[Path], Path]:
    """Three classes of noisy sequences: of frequencies, of where a bump is, or of autoregressive processes."""

    def write(folder: Path) -> Path:
        rng = np.random.default_rng(seed)
        count, steps = 360, 60
        y = rng.integers(0, 3, count)
        time = np.arange(steps) / steps
        x = np.zeros((count, steps, 2))
        for row, label in enumerate(y):
            if kind == "frequencies":
                shift = rng.uniform(0, 2 * np.pi, 2)
                x[row] = np.sin(2 * np.pi * (3 + 0.7 * label) * time[:, None] + shift)
            elif kind == "bumps":
                place = 0.25 + 0.2 * label + rng.normal(0, 0.07)
                x[row, :, 0] = np.exp(-(((time - place) / 0.08) ** 2))
            else:
                for step in range(1, steps):
                    x[row, step] = (0.5 + 0.2 * label) * x[row, step - 1] + rng.normal(0, 0.5, 2)
        x += rng.normal(0, 0.6, x.shape)
        np.savez(folder / "sequences.npz", x=x.astype(np.float32), y=y)
        return folder / "sequences.npz"

    return write


TABLES: dict[str, Callable[[Path], Path]] = {
    "wine": _table(load_wine(return_X_y=True)),
    "easy classes": _classes(n_samples=600, n_features=20, n_informative=8, n_classes=3, random_state=1),
    "noisy classes": _classes(n_samples=900, n_features=30, n_informative=6, flip_y=0.15, random_state=2),
    "clusters": _classes(n_samples=800, n_features=12, n_informative=8, n_classes=4, class_sep=0.8, random_state=3),
    "sphere": _table(make_hastie_10_2(n_samples=1000, random_state=4)),
    "moons": _table(make_moons(n_samples=500, noise=0.25, random_state=5)),
    "friedman 1": _table(make_friedman1(n_samples=600, noise=1.0, random_state=6)),
    "friedman 2": _table(make_friedman2(n_samples=600, noise=60.0, random_state=7)),
    "friedman 3": _table(make_friedman3(n_samples=600, noise=0.1, random_state=8)),
}
SEQUENCES = {kind: _sequences(kind, seed) for seed, kind in enumerate(("frequencies", "bumps", "processes"))}
REGRESSIONS = ("friedman 1", "friedman 2", "friedman 3")


def train(model: str, *, points: int, epochs: int) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """The points, and by task the value of each, the higher the better."""
    is_table = model in ("models.dnn:DNN", "models.tabm:TabM")
    found: dict[str, list[float]] = {}
    design: list[dict[str, Any]] = []
    for name, write in (TABLES if is_table else SEQUENCES).items():
        with tempfile.TemporaryDirectory() as folder:
            file = str(write(Path(folder)))
            data = (
                {"class": "models.data:Table", "source": file, "target": "target"}
                if is_table
                else {"class": "models.data:Sequences", "path": file}
            )
            metric = "val_r2" if name in REGRESSIONS else "val_accuracy"
            study = hpo.run(
                study="portfolio",
                model=model,
                data=data,
                objective={"metric": metric, "direction": "maximize"},
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
        found[name] = [float("-inf") if trial.value is None else trial.value for trial in trials]
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
    for source, metric in (("breast_cancer", "val_accuracy"), ("iris", "val_accuracy"), ("diabetes", "val_r2")):
        for seed in range(seeds):
            best = []
            for first_trial in ("defaults", "portfolio"):
                with tempfile.TemporaryDirectory() as folder:
                    study = hpo.run(
                        study="compared",
                        model=model,
                        data={"class": "models.data:Table", "source": source, "split_seed": seed},
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
    parser.add_argument("model")
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
