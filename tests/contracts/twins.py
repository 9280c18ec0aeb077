"""One training by both executors, and the comparison of their results, bit by bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from hpo.training.executor import Executor, use

from .model_contract import cpu_trainer

LEAN, LIGHTNING = Executor("lean", is_required=True), Executor("lightning", "it is compared with")


class Metrics(pl.callbacks.Checkpoint):
    """All that was logged after each epoch, taken where a trial's report takes it."""

    def __init__(self) -> None:
        self.by_epoch: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.by_epoch.append({name: value.clone() for name, value in trainer.callback_metrics.items()})


@dataclass
class Left:
    """What a training leaves."""

    model: pl.LightningModule
    metrics: list[dict[str, Tensor]]
    optimizers: list[Any]
    loops: dict[str, Any]
    random: Tensor
    noted: list[Any] = field(default_factory=list)


def fit(
    executor: Executor,
    make: Callable[[], tuple[pl.LightningModule, pl.LightningDataModule]],
    *,
    checkpoint: Path | None = None,
    **options: Any,
) -> Left:
    """Train what `make` builds, from one seed."""
    pl.seed_everything(11, verbose=False)
    model, data = make()
    metrics = Metrics()
    options = {"max_epochs": 3, **options, "callbacks": [*options.get("callbacks", []), metrics]}
    trainer = cpu_trainer(**options, **({} if "enable_checkpointing" in options else {"enable_checkpointing": True}))
    use(executor, trainer, pytest.fail)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    states = [copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers]
    loops = trainer.fit_loop.state_dict()
    return Left(model, metrics.by_epoch, states, loops, torch.get_rng_state(), getattr(model, "noted", []))


def assert_same(one: Left, other: Left) -> None:
    """Weights, metrics, the optimizer's state, the loops' counters, the random state and what the module noted."""
    assert_equal(one.metrics, other.metrics)
    assert_equal(dict(one.model.state_dict()), dict(other.model.state_dict()))
    assert_equal(one.optimizers, other.optimizers)
    assert one.loops == other.loops
    assert torch.equal(one.random, other.random)
    assert_equal(one.noted, other.noted)


def assert_equal(one: Any, other: Any) -> None:
    """Equal to the last bit, in whatever it is nested."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one.nan_to_num(12345.0), other.nan_to_num(12345.0)), f"{one} is not {other}"
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other
