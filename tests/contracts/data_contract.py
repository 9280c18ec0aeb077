"""The contract of data modules: their trials can be compared and repeated, and the test part stays unseen.

An entry in the list of test_data.py runs all of it: a class, or whatever makes a data module when it is called, such
as `partial(Table, source="wine")`. Whatever is not searched and not given has its default. The samples that are read
should be few, and no two of them alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor
from wide import wide_space

from hpo.space import SearchSpace
from hpo.training.preparation import differences
from models.data.base import DataModule
from models.data.batches import Batch, Batches, take

from .garbage import with_garbage
from .ranks import on_ranks

# Threads of processes that share cores wait for each other, and small models gain nothing from them.
torch.set_num_threads(1)

DataFactory = Callable[..., Any]
Sample = tuple[bytes, ...]  # the bytes of each input and of the target
TOLD = (
    "task",
    "outputs",
    "input_shape",
    "in_features",
    "cardinalities",
    "class_counts",
    "class_names",
    "target_mean",
    "target_scale",
)
PARTS: tuple[Literal["validation", "test"], ...] = ("validation", "test")
NO_CLASS = -100  # a target that is none, such as that of padding


def class_of(data_factory: DataFactory) -> type[Any]:
    found = data_factory.func if isinstance(data_factory, partial) else data_factory
    assert isinstance(found, type)
    return found


def points_of(data_factory: DataFactory, count: int) -> list[dict[str, Any]]:
    """The defaults and random points of what the factory leaves to be searched."""
    space = wide_space(class_of(data_factory), "data")
    given = data_factory.keywords if isinstance(data_factory, partial) else {}
    points = [space.defaults(), *random_points(space, count)]
    return [{name: value for name, value in point.items() if name not in given} for point in points]


def random_points(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    """Points of a space, the same ones in every run."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def ready(data_factory: DataFactory, **arguments: Any) -> Any:
    """A data module that is set up for training, validation and the test."""
    return _set_up(data_factory(**arguments), "fit", "validate", "test")


def as_read(batches: Batches) -> Batches:
    """The same batches as they are before augmentation."""
    return Batches(batches.inputs, batches.targets, batches.batch_size, training=batches.training)


def several(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs,) if isinstance(inputs, Tensor) else inputs


def samples_of(batches: Iterable[Batch]) -> Counter[Sample]:
    """Every sample, with how often it occurs."""
    return Counter(
        tuple(row.numpy().tobytes() for row in rows)
        for inputs, targets in batches
        for rows in zip(*several(inputs), targets, strict=True)
    )


def targets_of(batches: Iterable[Batch]) -> Tensor:
    return torch.cat([targets for _, targets in batches])


def told_targets(data: DataModule, name: Literal["validation", "test"]) -> Tensor:
    """A part's targets in their order, of a regression as they stand in the data."""
    targets = targets_of(data.val_dataloader() if name == "validation" else data.test_dataloader())
    if data.task != "regression":
        return targets
    return data.restore(name, targets * torch.tensor(data.target_scale) + torch.tensor(data.target_mean)).float()


def facts(data: DataModule) -> dict[str, Any]:
    return {name: getattr(data, name) for name in TOLD}


class DataContract:
    """Tests over the parameter `data_factory`."""

    def test_a_final_model_learns_from_the_validation_part_too_and_is_tested_on_the_same_samples(
        self, data_factory: DataFactory
    ) -> None:
        for point in points_of(data_factory, 3):
            apart, both = data_factory(**point), data_factory(**point)
            both.learn_from_validation()
            for data in (apart, both):
                _set_up(data, "fit", "validate", "test")

            rows = [np.sort(np.asarray(part)) for part in (both.rows.train, apart.rows.train, apart.rows.validation)]
            assert rows[0].tolist() == np.union1d(rows[1], rows[2]).tolist()
            assert len(both.train_dataloader().targets) > len(apart.train_dataloader().targets)
            before, after = (told_targets(data, "test").double() for data in (apart, both))
            assert torch.allclose(before, after, atol=1e-4, equal_nan=True)  # padding of sequences has no target
            assert not both.take_over(apart)
            assert not apart.take_over(both)

    def test_folds_validate_on_each_sample_once_and_never_on_one_that_they_were_trained_on(
        self, data_factory: DataFactory
    ) -> None:
        apart = ready(data_factory)
        pool = np.union1d(apart.rows.train, apart.rows.validation)
        folds = [_fold(data_factory, number, 3) for number in (1, 2, 3)]

        for data in folds:
            train, validation = (set(part.tolist()) for part in data.rows[:2])
            assert train
            assert validation
            assert not train & validation
            assert train | validation <= set(pool.tolist())
            assert data.rows.test.tolist() == apart.rows.test.tolist()
            if apart.folds is not None and apart.folds.kind == "grouped":
                groups = np.asarray(apart.folds.keys)
                assert not set(groups[list(train)]) & set(groups[list(validation)])
            assert not data.take_over(apart)
        validated = np.concatenate([data.rows.validation for data in folds])
        assert len(np.unique(validated)) == len(validated)
        if apart.folds is not None and apart.folds.kind == "time":
            times = np.asarray(apart.folds.keys)
            if type(apart).__name__ != "Series":  # whose series lie side by side, each with its own time
                assert all(times[data.rows.train].max() < times[data.rows.validation].min() for data in folds)
        else:
            assert np.sort(validated).tolist() == pool.tolist()
            assert all(len(data.rows.train) + len(data.rows.validation) == len(pool) for data in folds)
        again = _fold(data_factory, 2, 3)
        assert again.take_over(folds[1])
        assert facts(again) == facts(folds[1])

    def test_every_point_of_the_space_gives_batches_of_the_promised_shape(self, data_factory: DataFactory) -> None:
        for point in points_of(data_factory, 20):
            data = ready(data_factory, **point)
            for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
                batches = list(loader)
                assert len(batches) == len(loader) > 0
                for inputs, targets in batches:
                    first = several(inputs)[0]
                    assert first.shape == (len(targets), *data.input_shape), point
                    assert first.dtype == torch.float32
                    assert first.isfinite().all(), point
                    if data.task == "regression":
                        _check_values(targets, data)
                    else:
                        _check_classes(targets, data)
                    if data.cardinalities:
                        _check_categories(several(inputs)[1], data.cardinalities)

    def test_its_facts_on_classes_and_values_are_those_of_the_training_part(self, data_factory: DataFactory) -> None:
        for number, point in enumerate(points_of(data_factory, 5)):
            data = ready(data_factory, **point)
            targets = data.train_dataloader().targets
            if data.task == "regression":
                assert data.class_counts == data.class_names == ()
                assert len(data.target_mean) == len(data.target_scale) == data.outputs
                # another point may learn from fewer samples, in the same unit
                assert targets.nanmean() == pytest.approx(0, abs=0.5 if number else 1e-3)
            else:
                classes = 2 if data.task == "binary" else data.outputs
                assert len(data.class_names) == len(set(data.class_names)) == classes
                known = targets[targets != NO_CLASS]
                assert data.class_counts == tuple(torch.bincount(known, minlength=classes).tolist())
                assert data.target_mean == data.target_scale == ()

    def test_no_sample_is_in_two_parts(self, data_factory: DataFactory) -> None:
        data = ready(data_factory)
        rows = np.concatenate(data.rows)
        train, validation, test = (
            samples_of(as_read(loader))
            for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        )
        assert len(set(rows.tolist())) == len(rows)
        assert all(len(part) for part in data.rows)
        assert not train & validation
        assert not (train | validation) & test

    def test_every_trial_sees_the_same_split(self, data_factory: DataFactory) -> None:
        torch.manual_seed(1)
        first = ready(data_factory)
        torch.manual_seed(2)
        second = ready(data_factory)
        assert samples_of(as_read(first.train_dataloader())) == samples_of(as_read(second.train_dataloader()))
        for other in (second, *(ready(data_factory, **point) for point in points_of(data_factory, 10))):
            for name in PARTS:
                torch.testing.assert_close(told_targets(first, name), told_targets(other, name), equal_nan=True)

    def test_an_epoch_sees_every_sample_once(self, data_factory: DataFactory) -> None:
        data = ready(data_factory, batch_size=16)
        part = data.part("train")
        everything = samples_of([(part.inputs if part.rows is None else take(part.inputs, part.rows), part.targets)])
        for _ in range(3):
            epoch = samples_of(as_read(data.train_dataloader()))
            assert epoch <= everything
            # a last batch of one sample sits out
            assert epoch.total() == everything.total() - (everything.total() % 16 == 1)
        assert samples_of(data.val_dataloader()) == samples_of(data.val_dataloader())

    def test_the_seed_decides_the_order_and_every_epoch_has_another(self, data_factory: DataFactory) -> None:
        train = ready(data_factory).train_dataloader()
        torch.manual_seed(1)
        first, second = _bytes_of(train), _bytes_of(train)
        torch.manual_seed(1)
        again = _bytes_of(train)
        torch.manual_seed(2)
        other = _bytes_of(train)
        assert first == again
        assert first != second
        assert first != other

    def test_data_prepared_with_the_same_options_is_reused(self, data_factory: DataFactory) -> None:
        fresh, taker = data_factory(batch_size=16), data_factory(batch_size=16)
        assert taker.take_over(ready(data_factory))
        taker.read = None  # which is needed no more
        assert facts(_set_up(taker, "fit")) == facts(_set_up(fresh, "fit"))
        for name in ("train_dataloader", "val_dataloader"):
            assert _epoch(getattr(taker, name)()) == _epoch(getattr(fresh, name)())
        with pytest.raises(KeyError, match="test"):
            taker.test_dataloader()
        assert data_factory().take_over(taker)

    def test_the_cache_of_a_file_equals_the_file(
        self, data_factory: DataFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        read = ready(data_factory)
        monkeypatch.setattr("models.data.cache.LEAST_BYTES_TO_KEEP", 0)
        kept = [ready(data_factory), ready(data_factory)]
        # scikit-learn's data need not be kept
        assert len(list(tmp_path.rglob("*.arrays"))) == (
            "path" in read.hparams or "/" in read.hparams.get("source", "")
        )
        for other in kept:
            assert facts(other) == facts(read)
            for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
                assert _epoch(getattr(other, name)()) == _epoch(getattr(read, name)())

    def test_nothing_is_taken_over_from_one_of_other_options(self, data_factory: DataFactory) -> None:
        default = ready(data_factory)
        options = [
            {name: value for name, value in p.items() if name != "batch_size"} for p in points_of(data_factory, 9)
        ]
        others = [point for point in options[1:] if point != options[0]]
        assert others
        assert not any(data_factory(**point).take_over(default) for point in others)
        assert not data_factory().take_over(data_factory())

    def test_test_samples_are_never_touched_during_the_search(self, data_factory: DataFactory) -> None:
        for point in points_of(data_factory, 5):
            honest = _set_up(data_factory(**point), "fit")
            other = _set_up(_with_garbage_in(data_factory, point, "test"), "fit")
            with pytest.raises(KeyError, match="test"):
                honest.test_dataloader()
            assert facts(other) == facts(honest), point
            for name in ("train_dataloader", "val_dataloader"):
                assert _epoch(getattr(other, name)()) == _epoch(getattr(honest, name)()), point

    def test_statistics_are_fitted_on_the_training_samples_only(self, data_factory: DataFactory) -> None:
        for point in points_of(data_factory, 5):
            honest = _set_up(data_factory(**point), "fit")
            other = _set_up(_with_garbage_in(data_factory, point, "validation", "test"), "fit")
            assert facts(other) == facts(honest), point
            assert _epoch(other.train_dataloader()) == _epoch(honest.train_dataloader()), point

    def test_what_was_fitted_has_a_summary_that_differs_where_it_does(self, data_factory: DataFactory) -> None:
        for point in points_of(data_factory, 5):
            honest, again = (_set_up(data_factory(**{**point, "batch_size": size}), "fit") for size in (16, 32))
            other = _set_up(_with_garbage_at(data_factory(**point), honest.rows.train[::2]), "fit")
            assert again.preparation() == honest.preparation()
            is_same = not differences(honest.preparation(), other.preparation())
            targets = (honest.target_mean, honest.target_scale) == (other.target_mean, other.target_scale)
            if is_same:
                assert targets
                assert _epoch(other.val_dataloader()) == _epoch(honest.val_dataloader()), point

    def test_garbage_in_the_test_part_reaches_its_loader(self, data_factory: DataFactory) -> None:
        """Without this, the two tests above might say nothing."""
        honest = ready(data_factory)
        other = _set_up(_with_garbage_in(data_factory, {}, "test"), "test")
        assert not samples_of(honest.test_dataloader()) & samples_of(other.test_dataloader())

    def test_two_ranks_share_every_epoch(self, data_factory: DataFactory, tmp_path: Path) -> None:
        whole = ready(data_factory)
        everything = samples_of(as_read(whole.train_dataloader()))
        first, second = on_ranks(partial(_shares, data_factory), tmp_path)
        for mine, others in zip(first.train, second.train, strict=True):
            assert [len(targets) for _, targets in mine] == [len(targets) for _, targets in others]
            both = samples_of([*mine, *others])
            assert both <= everything
            assert both.total() >= everything.total() - 2  # one for the ranks, one that would be a batch of its own
        assert samples_of(first.train[0]) != samples_of(first.train[1])
        assert len(first.validation) == len(second.validation)
        assert samples_of([*first.validation, *second.validation]) == samples_of(whole.val_dataloader())


class Shares:
    """What one rank sees: two epochs of training, and the validation."""

    def __init__(self, train: Sequence[list[Batch]], validation: list[Batch]) -> None:
        self.train = train
        self.validation = validation


def _set_up(data: Any, *stages: str) -> Any:
    data.prepare_data()
    for stage in stages:
        data.setup(stage)
    return data


def _with_garbage_in(data_factory: DataFactory, arguments: dict[str, Any], *parts: str) -> Any:
    """The same data module, had there been garbage in the files, in the rows of these parts."""
    honest = _set_up(data_factory(**arguments), "fit")
    rows = np.concatenate([getattr(honest.rows, part) for part in parts])
    return _with_garbage_at(data_factory(**arguments), rows)


def _with_garbage_at(data: Any, rows: Any) -> Any:
    read = data.read
    data.read = lambda: with_garbage(read(), rows)
    return data


def _check_values(targets: Tensor, data: DataModule) -> None:
    assert targets.dtype == torch.float32
    assert targets.shape[-1] == data.outputs
    assert targets.isfinite().all() or targets.ndim > 2


def _check_classes(targets: Tensor, data: DataModule) -> None:
    if targets.is_floating_point():  # probabilities, where samples were mixed to train on
        whole = torch.stack([targets, 1 - targets], 1) if data.task == "binary" else targets
        assert whole.shape == (len(targets), 2 if data.task == "binary" else data.outputs)
        assert whole.min() >= 0
        torch.testing.assert_close(whole.sum(1), torch.ones(len(whole)))
        return
    known = targets if targets.ndim == 1 else targets[targets != NO_CLASS]
    assert targets.dtype == torch.int64
    assert 0 <= known.min() <= known.max() < (2 if data.task == "binary" else data.outputs)
    assert data.outputs == 1 or data.task == "multiclass"


def _check_categories(categories: Tensor, cardinalities: tuple[int, ...]) -> None:
    assert categories.dtype == torch.int64
    assert categories.shape[1:] == (len(cardinalities),)
    assert categories.min() >= 0
    assert (categories < torch.tensor(cardinalities)).all()


def _epoch(batches: Batches) -> list[bytes]:
    torch.manual_seed(4)
    return _bytes_of(batches)


def _bytes_of(batches: Iterable[Batch]) -> list[bytes]:
    return [tensor.numpy().tobytes() for inputs, targets in batches for tensor in (*several(inputs), targets)]


def _shares(data_factory: DataFactory) -> Shares:
    torch.manual_seed(torch.distributed.get_rank())  # as if dropout had moved the generators apart
    data = ready(data_factory)
    train = as_read(data.train_dataloader())
    return Shares([list(train), list(train)], list(data.val_dataloader()))


def _fold(data_factory: DataFactory, number: int, count: int) -> DataModule:
    data: DataModule = data_factory()
    data.take_fold(number, count)
    _set_up(data, "fit")
    return data
