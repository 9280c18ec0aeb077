"""Users' modules, trained by both executors: each hook, each form of logging, each kind of data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from . import hooked
from .hooked import Points, Small
from .twins import LEAN, LIGHTNING, assert_same, fit

torch.set_num_threads(1)

Data = Callable[[], pl.LightningDataModule]

CASES: list[tuple[Callable[[], Any], Data, dict[str, Any]]] = [
    *((module, Points, {}) for module in (
        Small, hooked.ADictOfOutputs, hooked.Skips, hooked.TakesTheBatchOnly, hooked.NeverValidates,
        hooked.EndsItsEpochs, hooked.StopsItself, hooked.BuildsItselfLate,
        hooked.OneInAList, hooked.TwoLists, hooked.ADictWithAnOptimizer, hooked.ADictWithASchedule,
        hooked.ListOfDicts, hooked.EverySecondStep,
        hooked.TwoSchedules, hooked.OnPlateau, hooked.OnPlateauOfSteps, hooked.OnPlateauOfNothing,
        hooked.NeedsItsClosure, hooked.AnOptimizerOfItsOwn, hooked.LooksBeforeTheStep, hooked.NoOptimizer,
        hooked.NotesEverything, hooked.NotesInCallbacks, hooked.ActsInEveryHook, hooked.ZeroesItself,
        hooked.ClipsItself, hooked.MovesItsBatches, hooked.LogsInEveryWay,
        hooked.LogsWithWordsAndCollections, hooked.ReadsItsTrainer,
        hooked.StopsEarly, hooked.Accumulates, hooked.Averages, hooked.ChecksPoints, hooked.FindsItsLearningRate,
        hooked.ThawsLater, hooked.Prunes, hooked.AveragesExponentially,
    )),
    (Small, hooked.MovingPoints, {}),
    (Small, hooked.Streamed, {}),
    (Small, hooked.SaysTooMuch, {}),
    (Small, hooked.NoBatch, {}),
    (hooked.TakesTwoAtOnce, hooked.TwoAtOnce, {}),
    (hooked.LogsInEveryWay, partial(Points, loaders=2), {}),
    (Small, Points, {"gradient_clip_val": 0.05}),
    (Small, Points, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    (hooked.TwoSchedules, Points, {"accumulate_grad_batches": 3}),
    (hooked.NotesEverything, Points, {"accumulate_grad_batches": 3}),
    (hooked.NotesEverything, Points, {"val_check_interval": 0.5}),
    (hooked.NotesEverything, Points, {"check_val_every_n_epoch": 2}),
    (hooked.NotesEverything, Points, {"max_epochs": -1, "max_steps": 11}),
    (hooked.NotesEverything, Points, {"limit_train_batches": 3, "limit_val_batches": 1}),
    (hooked.NotesEverything, Points, {"limit_val_batches": 0}),
    (hooked.LogsInEveryWay, Points, {"precision": "bf16-mixed"}),
    (hooked.LogsInEveryWay, Points, {"precision": "16-mixed"}),
    (hooked.LogsInEveryWay, Points, {"precision": "bf16-true"}),
    (hooked.LogsInEveryWay, Points, {"precision": "64-true"}),
    (Small, Points, {"precision": "16-true"}),
]  # fmt: skip


def named(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(f"{key}={item}" for key, item in value.items())
    return "two loaders" if isinstance(value, partial) else str(value.__name__)


# What Lightning warns of, in both executors.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("module", "data", "options"), CASES, ids=named)
def test_both_executors_do_the_same(
    module: Callable[[], Any], data: Data, options: dict[str, Any], tmp_path: Path
) -> None:
    def make() -> tuple[Any, Any]:
        return module(), data()

    left = [fit(executor, make, default_root_dir=tmp_path, **options) for executor in (LIGHTNING, LEAN)]

    assert_same(*left)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("module", "words"),
    [
        (hooked.TwoInATuple, "multiple optimizers is only supported with manual optimization"),
        (hooked.ReducesItsOwnWay, "If you need a custom reduction, please log a `torchmetrics.Metric`"),
    ],
    ids=["two optimizers", "a reduction of its own"],
)
def test_both_executors_refuse_the_same_in_the_same_words(module: Callable[[], Any], words: str) -> None:
    errors = []
    for executor in (LIGHTNING, LEAN):
        with pytest.raises(Exception, match=words) as raised:
            fit(executor, lambda: (module(), Points()))
        errors.append((type(raised.value), str(raised.value)))

    assert errors[0] == errors[1]
