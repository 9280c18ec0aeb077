"""The contract of models: any point of the space can be trained, stored and rebuilt.

A pair (model, data module) in the list of test_models.py runs all of it. The data module is a class, or whatever
makes one when it is called: `partial(Table, source="iris")`. What the search does not give a model, the data module
does, as in a trial.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from recorder import DryRun
from torch import Tensor
from wide import wide_space

from hpo.space import SearchSpace, arguments_of
from hpo.training.arguments import given_by_data
from models.base import Supervised

from .data_contract import random_points

ModelClass = type[LightningModule]
DataFactory = Callable[[], LightningDataModule]
Batch = tuple[Any, Tensor]  # inputs are a tensor (batch, ...) or a tuple of them

SAMPLES = 16
MOST_STEPS = 500


@functools.cache
def data_of(data_factory: DataFactory) -> Any:
    """A data module that is set up for training; to be looked at only, because tests share it."""
    data = data_factory()
    data.prepare_data()
    data.setup("fit")
    return data


def build(model_class: ModelClass, data_factory: DataFactory, **arguments: Any) -> LightningModule:
    """A model for this data, at the point that is given and with defaults for the rest."""
    return model_class(**arguments, **given_by_data(model_class, arguments, data_of(data_factory)))


def first_batch(data_factory: DataFactory, samples: int = SAMPLES) -> Batch:
    """Training samples, the same ones in every run."""
    torch.manual_seed(0)
    inputs, targets = next(iter(data_of(data_factory).train_dataloader()))
    first = inputs[:samples] if isinstance(inputs, Tensor) else tuple(part[:samples] for part in inputs)
    return first, targets[:samples]


def cpu_trainer(**options: Any) -> Trainer:
    """Lightning's own, as a trial uses it: nothing optional."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(**{"accelerator": "cpu", "enable_checkpointing": False, **quiet, **options})


def training_loss(model: LightningModule, batch: Batch) -> Tensor:
    loss = model.training_step(batch, 0)
    assert isinstance(loss, Tensor)
    return loss


def outputs_of(model: LightningModule, batch: Batch) -> Tensor:
    """As they are validated: without dropout, and with batch normalisation as it was learned."""
    model.eval()
    with torch.no_grad():
        outputs: Tensor = model(batch[0])
    return outputs


class ModelContract:
    """Tests over the parameters `model_class` and `data_factory`."""

    def test_a_training_step_reads_no_value_on_the_host(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        """Which would wait for a GPU in each step."""
        model = build(model_class, data_factory)

        with DryRun():  # type: ignore[no-untyped-call]
            batch = next(iter(data_of(data_factory).train_dataloader()))
            training_loss(model, batch).backward()  # type: ignore[no-untyped-call]

    def test_every_point_of_the_space_has_an_output_a_loss_and_a_gradient(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        space = wide_space(model_class)
        batch, data = first_batch(data_factory), data_of(data_factory)
        for point in [space.defaults(), *random_points(space, 20)]:
            model = build(model_class, data_factory, **point)
            loss = training_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            assert loss.shape == ()
            assert loss.isfinite(), point
            learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
            assert learned, point
            for name, parameter in learned.items():
                assert parameter.grad is not None, (name, point)
                assert parameter.grad.isfinite().all(), (name, point)
            outputs = outputs_of(model, batch)
            assert len(outputs) == len(batch[1]), point
            assert outputs.isfinite().all(), point
            if isinstance(model, Supervised):
                assert outputs.shape[-1] == data.outputs, point

    def test_the_defaults_are_a_point_of_the_space_and_those_of_the_constructor(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        space = SearchSpace.of(model_class)
        defaults = space.complete(space.defaults())
        assert space.contains(space.defaults())
        plain, pointed = build(model_class, data_factory), build(model_class, data_factory, **defaults)
        assert dict(plain.hparams) == dict(pointed.hparams)

    def test_hyperparameters_are_plain_and_complete(self, model_class: ModelClass, data_factory: DataFactory) -> None:
        for point in [{}, *random_points(wide_space(model_class), 5)]:
            hyperparameters = build(model_class, data_factory, **point).hparams
            assert set(hyperparameters) == {argument.name for argument in arguments_of(model_class)}
            for name, value in hyperparameters.items():
                values = value if isinstance(value, tuple | list) else (value,)
                assert {type(item) for item in values} <= {bool, int, float, str, type(None)}, name
            assert point.items() <= hyperparameters.items()

    def test_an_argument_that_is_none_is_refused(self, model_class: ModelClass, data_factory: DataFactory) -> None:
        with pytest.raises(TypeError, match="learning_speed"):
            build(model_class, data_factory, learning_speed=1)

    def test_a_few_samples_are_learned_by_heart(self, model_class: ModelClass, data_factory: DataFactory) -> None:
        batch = first_batch(data_factory)
        torch.manual_seed(0)
        model = build(model_class, data_factory)
        optimizer = model.configure_optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        first = training_loss(model, batch).item()
        for _ in range(MOST_STEPS):
            optimizer.zero_grad()
            loss = training_loss(model, batch)
            if loss.item() < first / 4:
                break
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert loss.item() < first / 4

    def test_two_epochs_in_a_trainer_log_finite_metrics(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        trainer = cpu_trainer(max_epochs=2, limit_train_batches=5)
        trainer.fit(build(model_class, data_factory), datamodule=data_factory())
        assert trainer.callback_metrics.keys() >= {"train_loss", "val_loss"}
        assert all(value.isfinite() for value in trainer.callback_metrics.values()), trainer.callback_metrics

    def test_the_same_seed_gives_the_same_weights(self, model_class: ModelClass, data_factory: DataFactory) -> None:
        weights = []
        for _ in range(2):
            torch.manual_seed(3)
            model = build(model_class, data_factory)
            cpu_trainer(max_epochs=1, limit_train_batches=5).fit(model, datamodule=data_factory())
            weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        assert torch.equal(*weights)

    def test_a_checkpoint_rebuilds_its_model_without_trusting_code(
        self, model_class: ModelClass, data_factory: DataFactory, tmp_path: Path
    ) -> None:
        batch = first_batch(data_factory)
        for point in [{}, *random_points(wide_space(model_class), 3)]:
            model = build(model_class, data_factory, **point)
            trainer = cpu_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
            trainer.fit(model, datamodule=data_factory())
            trainer.save_checkpoint(tmp_path / "model.ckpt")
            again = model_class.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
            assert dict(again.hparams) == dict(model.hparams)
            assert torch.equal(outputs_of(again, batch), outputs_of(model, batch)), point

    def test_the_stored_configuration_rebuilds_the_model(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        """A store keeps it as JSON, which has lists only where a constructor has tuples."""
        batch = first_batch(data_factory)
        for point in [{}, *random_points(wide_space(model_class), 3)]:
            model = build(model_class, data_factory, **point)
            again = model_class(**json.loads(json.dumps(dict(model.hparams))))
            again.load_state_dict(model.state_dict())
            assert torch.equal(outputs_of(again, batch), outputs_of(model, batch)), point

    def test_the_class_documents_itself_and_its_arguments(
        self, model_class: ModelClass, data_factory: DataFactory
    ) -> None:
        assert inspect.getdoc(model_class)
        assert "(batch" in (model_class.__doc__ or "")
