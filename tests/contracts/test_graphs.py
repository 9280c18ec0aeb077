"""Replayed steps leave the same weights, metrics, counters and random numbers as computed ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from recorded import measured_csv
from recorder import Recorder
from torch import Tensor, nn
from torch.optim import SGD

from hpo.training.executor import Executor, use
from hpo.training.lean.epoch import LeanEpochLoop
from hpo.training.lean.graphed import GraphedSteps
from models.autoencoder import Autoencoder
from models.cnn import CNN
from models.data import Digits, Series, Table
from models.dnn import DNN
from models.recurrent import Recurrent
from models.tabm import TabM

from . import hooked
from .hooked import Points, Small
from .model_contract import ModelClass, build, cpu_trainer
from .test_transfer_contract import OfDNN
from .twins import Left, Metrics, assert_same

torch.set_num_threads(1)

REPLAYED = "steps are replayed as a CUDA graph"
NOT = "steps are not replayed as a CUDA graph, because "


class Capturable(Small):
    """With what a step may do besides computing."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("plain", loss)
        self.log("both", loss, on_step=True, on_epoch=True)
        self.log("most", loss, on_step=False, on_epoch=True, reduce_fx=max)
        self.log("sum", loss, on_step=False, on_epoch=True, reduce_fx="sum", batch_size=3)
        self.losses.append((loss.detach(), 8))
        return {"loss": loss}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.noted.append((outputs, {name: value.clone() for name, value in self.trainer.callback_metrics.items()}))

    def on_train_epoch_end(self) -> None:
        self.log("mean", torch.stack([loss for loss, _ in self.losses]).mean())
        self.log("steps", float(len(self.losses)))
        self.losses = []


class CompletesItself(Capturable):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.is_complete = True
        return super().training_step(batch, 0)


class Freezes(Capturable):
    """Its first layer learns no more from the second epoch on."""

    def on_train_epoch_start(self) -> None:
        for parameter in self.net[0].parameters():
            parameter.requires_grad = self.current_epoch == 0


class EvaluatesALayer(Capturable):
    def on_train_epoch_start(self) -> None:
        self.net[1].train(self.current_epoch != 1)


class ComputesItsScale(Capturable):
    """Sets a number between epochs."""

    scale = 1.0

    def on_train_epoch_start(self) -> None:
        self.scale = 1.0 + self.current_epoch

    def loss(self, batch: Any) -> Tensor:
        return super().loss(batch) * self.scale


class Asks(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return loss * 2 if loss.item() > 0.5 else loss


class ReadsTheEpoch(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * (1 + self.current_epoch)


class ReadsTheStep(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * (1 + 1e-6 * self.global_step)


class CountsBatches(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * (1 + batch_idx)


class LogsANumber(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("rows", float(len(batch[1])))
        return self.loss(batch)


class CountsItsSteps(Small):
    steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.steps += 1
        return self.loss(batch)


class Rolls(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * (1 + random.random())


class HidesAState(Small):
    """In a closure, where nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        steps: list[int] = []

        def scale() -> int:
            steps.append(1)
            return len(steps)

        self.scale = scale

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * self.scale()


class SlowsDown(Small):
    """Changes a number after each batch, by less than a probe would see."""

    pace = 1.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * self.pace

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.pace *= 0.9999


class ReplacesATensor(Small):
    """Which is no buffer, after each batch, by little."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = torch.ones(())

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * self.pace

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.pace = self.pace * 0.9999


class ReplacesWeights(Small):
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 5:
            weight = self.net[0].weight
            weight.data = weight.data.clone()  # type: ignore[operator]


class KeepsTheLoss(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.last = self.loss(batch)
        return self.last


class TrainsAHalf(Small):
    def configure_optimizers(self) -> Any:
        return SGD(self.net[0].parameters(), lr=0.1)


class StackedWithDropout(Small):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 4, 2, dropout=0.5)


def fit(
    make: Callable[[], tuple[Any, Any]], *, is_graphed: bool, messages: list[str] | None = None, **options: Any
) -> Left:
    """As twins.fit, with or without a recorder in the place of a CUDA graph."""
    pl.seed_everything(11, verbose=False)
    random.seed(3)
    model, data = make()
    metrics = Metrics()
    trainer = cpu_trainer(**{"max_epochs": 3, "enable_checkpointing": True, **options, "callbacks": [metrics]})
    use(Executor("lean", is_required=True), trainer, pytest.fail)
    if is_graphed:
        notes: list[str] = [] if messages is None else messages
        trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, pytest.fail, GraphedSteps(notes.append, Recorder, (0, 0)))
    trainer.fit(model, datamodule=data)
    states = [optimizer.state_dict() for optimizer in trainer.optimizers]
    return Left(
        model,
        metrics.by_epoch,
        states,
        trainer.fit_loop.state_dict(),
        torch.get_rng_state(),
        getattr(model, "noted", []),
    )


def counted(make: Callable[[], tuple[Any, Any]], **options: Any) -> tuple[list[str], int, int]:
    """Train both ways, with the same result; the messages, and the numbers of graphs and of replays."""
    messages: list[str] = []
    made, replays = Recorder.made, Recorder.replays

    left = [fit(make, is_graphed=is_graphed, messages=messages, **options) for is_graphed in (True, False)]

    assert_same(*left)
    return messages, Recorder.made - made, Recorder.replays - replays


OPTIONS: list[dict[str, Any]] = [
    {"schedule": "one_cycle", "optimizer": "sgd"},
    {"schedule": "cosine", "warmup": 0.2, "gradient_clip": 0.05},
]
MODELS: list[tuple[ModelClass, Callable[[], Any], dict[str, Any]]] = [
    (DNN, Digits, {"dropout": 0.3, "batch_norm": True}),
    (CNN, Digits, {"dropout": 0.3, "batch_norm": True}),
    (Autoencoder, Digits, {"dropout": 0.2}),
    (TabM, partial(Table, source="wine", batch_size=8), {}),
    (Recurrent, partial(Series, path=measured_csv(), target="load", interpolation="linear", batch_size=16), {}),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(options["schedule"]))
@pytest.mark.parametrize(("model", "data", "point"), MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_replayed_model_learns_what_a_computed_one_learns(
    model: ModelClass, data: Callable[[], Any], point: dict[str, Any], options: dict[str, Any]
) -> None:
    messages, made, replays = counted(lambda: (build(model, data, **point, **options), data()))

    assert messages == [REPLAYED]
    assert made == 1
    assert replays > 10


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_a_replayed_model_learns_the_same_in_other_precisions(precision: str) -> None:
    messages, _, _ = counted(lambda: (build(DNN, Digits, dropout=0.3), Digits()), precision=precision)

    assert messages == [REPLAYED]


def test_a_model_that_thaws_is_captured_anew() -> None:
    data = partial(Digits, only="567", batch_size=32)

    messages, made, _ = counted(lambda: (build(OfDNN, data, freeze="epochs", frozen_epochs=1), data()))

    assert messages == [REPLAYED]
    assert made >= 2


# What Lightning warns of, with and without graphs.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("module", "graphs"),
    [(Capturable, 1), (CompletesItself, 1), (Freezes, 2), (EvaluatesALayer, 3), (ComputesItsScale, 3),
     (hooked.TakesTheBatchOnly, 1), (hooked.NeverValidates, 1), (hooked.TwoSchedules, 1), (hooked.ClipsItself, 1),
     (hooked.OnPlateauOfSteps, 1), (hooked.ChecksPoints, 1), (hooked.StopsEarly, 1)],
)  # fmt: skip
def test_repeatable_steps_are_replayed(module: type[Any], graphs: int, tmp_path: Path) -> None:
    messages, made, replays = counted(lambda: (module(), Points()), default_root_dir=tmp_path)

    assert messages == [REPLAYED]
    assert made == graphs
    assert replays > 3


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Asks, "called a synchronizing operation: aten._local_scalar_dense.default"),
        (ReadsTheEpoch, "training_step reads current_epoch"),
        (ReadsTheStep, "training_step reads global_step"),
        (CountsBatches, "training_step uses the batch's number"),
        (LogsANumber, "training_step logs 'rows', which is not a tensor but of type float"),
        (CountsItsSteps, "training_step changes 'steps'"),
        (Rolls, "training_step draws random numbers on the host (python)"),
        (SlowsDown, "attributes of its modules change in the middle of an epoch"),
        (ReplacesATensor, "attributes of its modules change in the middle of an epoch"),
        (ReplacesWeights, "parameters or buffers are replaced or frozen in the middle of an epoch"),
        (KeepsTheLoss, "training_step changes 'last'"),
        (TrainsAHalf, "some parameters have gradients but are not optimized"),
        (StackedWithDropout, "recurrent layers have dropout between them"),
        (hooked.ActsInEveryHook, "the optimizer, the precision or the module requires Lightning's own step"),
        (hooked.NeedsItsClosure, "the optimizer, the precision or the module requires Lightning's own step"),
        (hooked.Accumulates, "gradients are accumulated over several batches"),
        (hooked.EndsItsEpochs, "the hook on_train_batch_start is used"),
        (hooked.NotesEverything, "the hook on_train_batch_start is used"),
        (hooked.Skips, "training_step uses the batch's number"),
        (hooked.LogsInEveryWay, "the hook on_train_batch_start is used"),
    ],
)
def test_steps_that_cannot_be_repeated_are_computed_and_the_reason_is_logged(
    module: type[Any], reason: str, tmp_path: Path
) -> None:
    messages, _, _ = counted(lambda: (module(), Points()), default_root_dir=tmp_path)

    assert messages[-1].startswith(NOT)
    assert reason in messages[-1]
    assert len(messages) == 1 or messages[0] == REPLAYED


def test_hidden_side_effects_are_found_by_their_results() -> None:
    messages: list[str] = []

    fit(lambda: (HidesAState(), Points()), is_graphed=True, messages=messages)

    assert messages == [f"{NOT}a replayed step gave other loss than the same step when computed"]
