"""The search as in Optuna's example for PyTorch Lightning.

optuna_way.py PROTOCOL SEED search TRIALS PART    with TPE and the median pruner
optuna_way.py PROTOCOL SEED enqueue               puts the points of points.json into the study
optuna_way.py PROTOCOL SEED points                trains enqueued points until none is left, without pruning
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytorch_lightning as pl

from experiments.contest.nets import ACTIVATIONS, INITIALIZERS, OPTIMIZERS, FashionNet, TabularNet
from experiments.contest.points import read_points
from experiments.contest.rivals_data import Arrays, arrays, loaders

CREATED = Path("created")
IS_POINT = "is_point"
EPOCHS = {"fashion": 6, "tabular": 20}
BATCH_SIZES = {"fashion": [32, 64, 128, 256], "tabular": [16, 32, 64, 128]}


class Pruning(pl.Callback):
    """The same as PyTorchLightningPruningCallback of optuna-integration, which needs the package `lightning`."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._trial.report(float(trainer.callback_metrics["val_accuracy"]), pl_module.current_epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def suggest(trial: optuna.Trial, protocol: str) -> dict[str, Any]:
    params: dict[str, Any] = {
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "activation": trial.suggest_categorical("activation", list(ACTIVATIONS)),
        "initializer": trial.suggest_categorical("initializer", list(INITIALIZERS)),
        "optimizer": trial.suggest_categorical("optimizer", list(OPTIMIZERS)),
    }
    if protocol == "tabular":
        return params | {
            "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
            "layers": trial.suggest_int("layers", 1, 3),
            "units": trial.suggest_int("units", 8, 64, log=True),
            "normalization": trial.suggest_categorical("normalization", ["none", "batch", "layer"]),
        }
    params["lr"] = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    params["arch"] = trial.suggest_categorical("arch", ["mlp", "cnn"])
    if params["arch"] == "mlp":
        params["layers"] = trial.suggest_int("layers", 1, 3)
        for layer in range(1, params["layers"] + 1):
            params[f"units_{layer}"] = trial.suggest_int(f"units_{layer}", 16, 256, log=True)
    else:
        params["blocks"] = trial.suggest_categorical("blocks", [1, 2])
        for block in range(1, params["blocks"] + 1):
            params[f"channels_{block}"] = trial.suggest_categorical(f"channels_{block}", [8, 16, 32])
        params["head"] = trial.suggest_categorical("head", [32, 64, 128])
    return params


def main(protocol: str, seed: int, what: str, trials: int | None = None, part: int = 0) -> None:
    """
    Args:
        what: search, enqueue or points.
        trials: of this process.
        part: of several processes. Creating the tables at once fails in one of them, so the others wait for the first.
    """
    if what == "enqueue":
        for point in read_points(Path()):
            study_of(seed, is_pruned=False).enqueue_trial(point, user_attrs={IS_POINT: True})
        return
    data: Arrays = arrays(protocol)
    while part and not CREATED.exists():
        time.sleep(0.05)

    def objective(trial: optuna.Trial) -> float:
        if what == "points" and IS_POINT not in trial.user_attrs:  # none was left, and this one is sampled
            trial.study.stop()
            raise optuna.TrialPruned
        model = (TabularNet if protocol == "tabular" else FashionNet)(**suggest(trial, protocol))
        batch_size = trial.suggest_categorical("batch_size", BATCH_SIZES[protocol])
        trainer = pl.Trainer(
            max_epochs=EPOCHS[protocol],
            accelerator="cpu",
            devices=1,
            logger=True,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Pruning(trial)],
        )
        trainer.logger.log_hyperparams(trial.params)  # type: ignore[union-attr]
        trainer.fit(model, *loaders(data, batch_size))
        return float(trainer.callback_metrics["val_accuracy"])

    study = study_of(seed, is_pruned=what == "search")
    CREATED.touch()
    study.optimize(objective, n_trials=trials)


def study_of(seed: int, *, is_pruned: bool) -> optuna.Study:
    return optuna.create_study(
        storage="sqlite:///optuna.db",
        study_name="contest",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner() if is_pruned else optuna.pruners.NopPruner(),
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
