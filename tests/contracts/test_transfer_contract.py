"""Transfer against the contract of the models, and on two ranks: thawed layers must learn the same on both."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.data import Digits
from models.transfer import Transfer

from .model_contract import ModelContract, cpu_trainer
from .ranks import on_ranks

DNN = '{"in_features": 64, "outputs": 5, "depth": 3, "batch_norm": true}'
NEW_DIGITS = partial(Digits, only="567")


class OfDNN(Transfer):
    """A Transfer that has a DNN (batch, ...) as its backbone unless told otherwise."""

    def __init__(self, backbone: str = "models.dnn:DNN", backbone_arguments: str = DNN, **rest: Any) -> None:
        super().__init__(backbone=backbone, backbone_arguments=backbone_arguments, **rest)


@pytest.mark.parametrize(("model_class", "data_factory"), [(OfDNN, NEW_DIGITS)])
class TestTransfer(ModelContract):
    pass


class FirstLayer(Callback):
    """The first hidden layer's weights after each epoch."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(pl_module.state_dict()["net.hidden.0.linear.weight"].clone())


def test_on_two_ranks_a_layer_thaws_at_the_same_epoch_and_learns_the_same(tmp_path: Path) -> None:
    first, second = on_ranks(_train_on_this_rank, tmp_path)

    assert all(torch.equal(*both) for both in zip(first, second, strict=True))
    is_same = [torch.equal(*both) for both in itertools.pairwise(first)]
    assert is_same == [True, False]


def _train_on_this_rank() -> list[Tensor]:
    torch.manual_seed(0)
    model = OfDNN(outputs=3, freeze="epochs", frozen_epochs=2, gradually=False, weight_decay=0.1, optimizer="adamw")
    first_layer = FirstLayer()
    trainer = cpu_trainer(
        max_epochs=3, strategy="ddp", devices=2, plugins=[TorchElasticEnvironment()], callbacks=[first_layer]
    )
    trainer.fit(model, datamodule=NEW_DIGITS())
    return first_layer.seen
