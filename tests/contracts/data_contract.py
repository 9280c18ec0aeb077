"""What every data module must do, so that its trials can be compared, repeated and spread over ranks.

A class in the list of test_data.py runs all of it, with its defaults for whatever is not searched. It offers
`classes` and `input_shape` after setup, and its batches are features (batch, *input_shape) and class numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from hpo.space import SearchSpace

from .ranks import on_ranks

# Threads of processes that share cores wait for each other, and small models gain nothing from them.
torch.set_num_threads(1)

Batch = tuple[Tensor, Tensor]
Samples = Counter[tuple[bytes, int]]  # the features' bytes and the class, with how often they occur


def random_points(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    """Points of a space, the same ones in every run."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def ready(data_class: type[LightningDataModule], **arguments: Any) -> Any:
    """A data module that is set up for training, validation and the test."""
    data = data_class(**arguments)
    data.prepare_data()
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    return data


def samples_of(batches: Iterable[Batch]) -> Samples:
    return Counter(
        (row.numpy().tobytes(), int(target))
        for features, targets in batches
        for row, target in zip(features, targets, strict=True)
    )


def targets_of(batches: Iterable[Batch]) -> list[int]:
    return torch.cat([targets for _, targets in batches]).tolist()


class DataContract:
    """Tests over the parameter `data_class`."""

    def test_every_point_of_the_space_gives_batches_of_the_promised_shape(
        self, data_class: type[LightningDataModule]
    ) -> None:
        space = SearchSpace.of(data_class, owner="data")
        for point in [space.defaults(), *random_points(space, 20)]:
            data = ready(data_class, **point)
            for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
                batches = list(loader)
                assert len(batches) == len(loader) > 0
                for features, targets in batches:
                    assert features.shape == (len(targets), *data.input_shape)
                    assert features.dtype == torch.float32
                    assert features.isfinite().all()
                    assert targets.dtype == torch.int64
                    assert 0 <= targets.min() <= targets.max() < data.classes

    def test_no_sample_is_in_two_parts(self, data_class: type[LightningDataModule]) -> None:
        data = ready(data_class)
        train = samples_of(data.train_dataloader())
        validation = samples_of(data.val_dataloader())
        test = samples_of(data.test_dataloader())
        assert not train & validation
        assert not (train | validation) & test

    def test_every_trial_sees_the_same_split(self, data_class: type[LightningDataModule]) -> None:
        torch.manual_seed(1)
        first = ready(data_class)
        torch.manual_seed(2)
        second = ready(data_class)
        assert samples_of(first.train_dataloader()) == samples_of(second.train_dataloader())
        points = random_points(SearchSpace.of(data_class, owner="data"), 10)
        for other in (second, *(ready(data_class, **point) for point in points)):
            assert targets_of(other.val_dataloader()) == targets_of(first.val_dataloader())
            assert targets_of(other.test_dataloader()) == targets_of(first.test_dataloader())

    def test_an_epoch_sees_every_sample_once(self, data_class: type[LightningDataModule]) -> None:
        data = ready(data_class)
        train = data.train_dataloader()
        epochs = [samples_of(train) for _ in range(3)]
        assert epochs[0] == epochs[1] == epochs[2]
        assert max(epochs[0].values()) == 1
        assert samples_of(data.val_dataloader()) == samples_of(data.val_dataloader())

    def test_the_seed_decides_the_order_and_every_epoch_has_another(
        self, data_class: type[LightningDataModule]
    ) -> None:
        train = ready(data_class).train_dataloader()
        torch.manual_seed(1)
        first, second = targets_of(train), targets_of(train)
        torch.manual_seed(1)
        again = targets_of(train)
        torch.manual_seed(2)
        other = targets_of(train)
        assert first == again
        assert first != second
        assert first != other

    def test_two_ranks_share_every_epoch(self, data_class: type[LightningDataModule], tmp_path: Path) -> None:
        whole = ready(data_class)
        everything = samples_of(whole.train_dataloader())
        first, second = on_ranks(partial(_shares, data_class), tmp_path)
        for mine, others in zip(first.train, second.train, strict=True):
            assert [len(targets) for _, targets in mine] == [len(targets) for _, targets in others]
            both = samples_of([*mine, *others])
            assert both <= everything
            assert both.total() >= everything.total() - 1
        assert samples_of(first.train[0]) != samples_of(first.train[1])
        assert len(first.validation) == len(second.validation)
        assert samples_of([*first.validation, *second.validation]) == samples_of(whole.val_dataloader())


class Shares:
    """What one rank sees: two epochs of training, and the validation."""

    def __init__(self, train: Sequence[list[Batch]], validation: list[Batch]) -> None:
        self.train = train
        self.validation = validation


def _shares(data_class: type[LightningDataModule]) -> Shares:
    torch.manual_seed(torch.distributed.get_rank())  # as if dropout had moved the generators apart
    data = ready(data_class)
    train = data.train_dataloader()
    return Shares([list(train), list(train)], list(data.val_dataloader()))
