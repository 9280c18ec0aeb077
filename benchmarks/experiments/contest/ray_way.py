"""The search as in Ray Tune's tutorial for PyTorch Lightning. Arguments: protocol, seed, trials, reuse or new.

`points` instead of the number of trials trains the points of points.json, as a grid, without a scheduler.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import ray
from ray import tune
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from experiments.contest.nets import FashionNet, TabularNet
from experiments.contest.optuna_way import BATCH_SIZES, EPOCHS, suggest
from experiments.contest.points import read_points
from experiments.contest.rivals_data import Arrays, arrays, loaders


def train(config: dict[str, Any], data: Arrays, protocol: str) -> None:
    params = dict(config.get("point", config))
    batch_size = params.pop("batch_size")
    model = (TabularNet if protocol == "tabular" else FashionNet)(**params)
    trainer = pl.Trainer(
        max_epochs=EPOCHS[protocol],
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            TuneReportCheckpointCallback({"val_accuracy": "val_accuracy"}, on="validation_end", save_checkpoints=False)
        ],
    )
    trainer.fit(model, *loaders(data, batch_size))


def space(trial: Any, protocol: str) -> None:
    suggest(trial, protocol)
    trial.suggest_categorical("batch_size", BATCH_SIZES[protocol])


def main(protocol: str, seed: int, what: str, *, reuse: bool) -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(train, data=arrays(protocol), protocol=protocol)
    options: dict[str, Any] = {
        "metric": "val_accuracy",
        "mode": "max",
        "max_concurrent_trials": 2,
        "reuse_actors": reuse,
    }
    if what != "points":
        options |= {
            "search_alg": OptunaSearch(partial(space, protocol=protocol), metric="val_accuracy", mode="max", seed=seed),
            "scheduler": ASHAScheduler(max_t=EPOCHS[protocol], grace_period=1, reduction_factor=2),
            "num_samples": int(what),
        }
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"point": tune.grid_search(read_points(Path()))} if what == "points" else None,
        tune_config=tune.TuneConfig(**options),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray"), verbose=0),
    )
    tuner.fit()
    ray.shutdown()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], reuse=sys.argv[4] == "reuse")
