"""What every model must do, so that any point of its space can be trained, stored and rebuilt.

A model in the list of test_models.py, with a data module to learn from, runs all of it. Arguments without a
default are given by the data module's attributes of the same names.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor

from hpo.space import SearchSpace, arguments_of

from .data_contract import random_points, ready

Batch = tuple[Tensor, Tensor]


def build(
    model_class: type[LightningModule], data_class: type[LightningDataModule], **arguments: Any
) -> LightningModule:
    """A model for this data, at the point that is given and with defaults for the rest."""
    needed = [argument.name for argument in arguments_of(model_class) if not argument.has_default]
    data = ready(data_class)
    return model_class(**{name: getattr(data, name) for name in needed} | arguments)


def first_batch(data_class: type[LightningDataModule], samples: int) -> Batch:
    torch.manual_seed(0)
    features, targets = next(iter(ready(data_class).train_dataloader()))
    return features[:samples], targets[:samples]


def cpu_trainer(**options: Any) -> Trainer:
    """Lightning's own, as a trial uses it: nothing optional."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**{"accelerator": "cpu", "enable_checkpointing": False, **quiet, **options})


def loss_of(model: LightningModule, batch: Batch) -> Tensor:
    loss = model.training_step(batch, 0)
    assert isinstance(loss, Tensor)
    return loss


class ModelContract:
    """Tests over the parameters `model_class` and `data_class`."""

    def test_every_point_of_the_space_has_an_output_a_loss_and_a_gradient(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        space = SearchSpace.of(model_class)
        batch = first_batch(data_class, 16)
        for point in [space.defaults(), *random_points(space, 20)]:
            model = build(model_class, data_class, **point)
            loss = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            assert model(batch[0]).shape == (16, ready(data_class).classes), point
            assert loss.shape == ()
            assert loss.isfinite(), point
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, (name, point)
                assert parameter.grad.isfinite().all(), (name, point)

    def test_the_defaults_are_a_point_of_the_space_and_those_of_the_constructor(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        space = SearchSpace.of(model_class)
        defaults = space.complete(space.defaults())
        assert space.contains(space.defaults())
        assert dict(build(model_class, data_class).hparams) == dict(build(model_class, data_class, **defaults).hparams)

    def test_hyperparameters_are_plain_scalars_and_complete(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        for point in [{}, *random_points(SearchSpace.of(model_class), 5)]:
            hyperparameters = build(model_class, data_class, **point).hparams
            assert set(hyperparameters) == {argument.name for argument in arguments_of(model_class)}
            assert {type(value) for value in hyperparameters.values()} <= {bool, int, float, str}
            assert point.items() <= hyperparameters.items()

    def test_an_argument_that_is_none_is_refused(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        with pytest.raises(TypeError, match="learning_speed"):
            build(model_class, data_class, learning_speed=1)

    def test_a_few_samples_are_learned_by_heart(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        batch = first_batch(data_class, 32)
        model = build(model_class, data_class)
        optimizer = model.configure_optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        first = loss_of(model, batch).item()
        for _ in range(100):
            optimizer.zero_grad()
            loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert loss_of(model, batch).item() < first / 4

    def test_two_epochs_in_a_trainer_log_finite_metrics(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        trainer = cpu_trainer(max_epochs=2)
        trainer.fit(build(model_class, data_class), datamodule=data_class())
        assert trainer.callback_metrics.keys() >= {"train_loss", "val_loss"}
        assert all(value.isfinite() for value in trainer.callback_metrics.values())

    def test_the_same_seed_gives_the_same_weights(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        weights = []
        for _ in range(2):
            torch.manual_seed(3)
            model = build(model_class, data_class)
            cpu_trainer(max_epochs=1).fit(model, datamodule=data_class())
            weights.append(torch.nn.utils.parameters_to_vector(model.parameters()))
        assert torch.equal(*weights)

    def test_a_checkpoint_rebuilds_its_model_without_trusting_code(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule], tmp_path: Path
    ) -> None:
        features, _ = first_batch(data_class, 16)
        for point in [{}, *random_points(SearchSpace.of(model_class), 3)]:
            model = build(model_class, data_class, **point)
            trainer = cpu_trainer(max_epochs=1, limit_train_batches=2)
            trainer.fit(model, datamodule=data_class())
            trainer.save_checkpoint(tmp_path / "model.ckpt")
            again = model_class.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
            assert dict(again.hparams) == dict(model.hparams)
            assert torch.equal(again.eval()(features), model.eval()(features))

    def test_the_class_says_what_it_is_and_what_it_takes(
        self, model_class: type[LightningModule], data_class: type[LightningDataModule]
    ) -> None:
        assert inspect.getdoc(model_class)
        assert "(batch" in (model_class.__doc__ or "")
