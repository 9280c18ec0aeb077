"""Configurations that every tool trains alike, for `benchmarks/search.py --same-points`."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_points(protocol: str, count: int, seed: int, arch: str | None = None) -> list[dict[str, Any]]:
    """Configurations at random from the ranges of the search.

    Args:
        arch: of the network, `mlp` or `cnn`; None for both, as they come.
    """
    import optuna

    from experiments.contest.optuna_way import BATCH_SIZES, suggest

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    points: list[dict[str, Any]] = []
    while len(points) < count:
        trial = study.ask()
        point = suggest(trial, protocol)
        point["batch_size"] = trial.suggest_categorical("batch_size", BATCH_SIZES[protocol])
        if arch is None or point.get("arch") == arch:
            points.append(point)
    return points


def write_points(points: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """points.json for Optuna and Ray, and points.csv for `hpo enqueue`, where what a point has not is empty."""
    (folder / "points.json").write_text(json.dumps(points), encoding="utf-8")
    with (folder / "points.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(name for point in points for name in point)))
        table.writeheader()
        table.writerows(points)


def read_points(folder: Path) -> list[dict[str, Any]]:
    """What `write_points` wrote."""
    points: list[dict[str, Any]] = json.loads((folder / "points.json").read_text(encoding="utf-8"))
    return points
