"""The data modules against their contract, and the properties of each."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import drawn_folders, drawn_npz
from recorded import measured_csv, panel_csv, recorded_npz

from models.data import Digits, Images, Sequences, Series, Table
from models.data.batches import Batches
from models.data.digits import fit_scaling, load_digits
from models.data.splits import stratified_split

from .data_contract import DataContract, DataFactory, ready, samples_of

FLATS = str(Path(__file__).with_name("flats.csv"))  # rents made up, with missing values, dates, rare categories

DATA_MODULES: dict[str, DataFactory] = {
    "Digits": Digits,
    "Digits of two classes": partial(Digits, only="38"),
    "Images of three classes": partial(Images, source=drawn_npz()),
    "Images of two classes": partial(Images, source=drawn_folders()),
    "Table of numbers": partial(Table, source="wine"),
    "Table of all kinds": partial(Table, source=FLATS, target="pets", ignore="number"),
    "Table of all kinds and two values": partial(Table, source=FLATS, target="rent, rooms", most_correlation=0.95),
    "Table of groups": partial(Table, source=FLATS, target="pets", group="landlord"),
    "Table in time": partial(Table, source=FLATS, target="rent", time="number", scaling="quantile"),
    "Sequences of two classes": partial(Sequences, path=recorded_npz("class")),
    "Sequences with values": partial(Sequences, path=recorded_npz("values")),
    "Sequences with a class a step": partial(Sequences, path=recorded_npz("step class"), labels="step"),
    "Sequences with a value a step": partial(Sequences, path=recorded_npz("step value"), labels="step"),
    "Series": partial(Series, path=measured_csv(), target="wind", features="", window=5),
    "Series of several steps with gaps": partial(
        Series, path=measured_csv(), target="load, wind", horizon=4, period=24, interpolation="linear"
    ),
    "Series with a calendar": partial(
        Series, path=measured_csv(), target="wind", features="", horizon=2, calendar="auto", window=6
    ),
    "Several series": partial(Series, path=panel_csv(), id="site", target="wind", interpolation="previous"),
}


@pytest.mark.parametrize("data_factory", DATA_MODULES.values(), ids=DATA_MODULES.keys())
class TestDataModules(DataContract):
    pass


def test_digits_are_the_ones_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits as load_reference

    reference = load_reference()
    pixels, labels = load_digits()
    np.testing.assert_array_equal(pixels, reference.data)
    np.testing.assert_array_equal(labels, reference.target)


def test_every_class_has_the_same_fractions_in_each_part() -> None:
    _, labels = load_digits()
    rows = stratified_split(labels, 0.2, 0.15, seed=0)
    assert sorted(np.concatenate(rows)) == list(range(1797))
    for label, members in enumerate(np.bincount(labels)):
        assert np.count_nonzero(labels[rows.validation] == label) == round(members * 0.2)
        assert np.count_nonzero(labels[rows.test] == label) == round(members * 0.15)


def test_another_split_seed_gives_another_split() -> None:
    first = ready(Digits, split_seed=0).val_dataloader()
    second = ready(Digits, split_seed=1).val_dataloader()
    assert not torch.equal(first.inputs, second.inputs)


def test_standard_scaling_is_fitted_on_the_training_part_only() -> None:
    raw, scaled = ready(Digits, scaling="none"), ready(Digits, scaling="standard")
    train = raw.train_dataloader().inputs
    deviation = train.std(dim=0, correction=0)
    deviation[deviation == 0] = 1
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        expected = (getattr(raw, loader)().inputs - train.mean(dim=0)) / deviation
        torch.testing.assert_close(getattr(scaled, loader)().inputs, expected, rtol=1e-4, atol=1e-5)


def test_unit_scaling_gives_values_from_0_to_1() -> None:
    features = ready(Digits, scaling="unit").train_dataloader().inputs
    assert (features.min(), features.max()) == (0, 1)


def test_a_pixel_that_is_always_blank_stays_finite() -> None:
    shift, scale = fit_scaling(np.zeros((5, 64), dtype=np.float32), "standard")
    assert np.isfinite((0 - shift) / scale).all()


@pytest.mark.parametrize("fractions", [(0.0, 0.2), (0.2, -0.1), (0.6, 0.4)])
def test_fractions_that_leave_a_part_empty_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"samples for validation and training"):
        Digits(validation_fraction=fractions[0], test_fraction=fractions[1])


def test_the_test_part_is_not_there_in_training() -> None:
    data = Digits()
    data.setup("fit")
    with pytest.raises(KeyError, match="test"):
        data.test_dataloader()


def test_without_a_test_part_a_test_says_so() -> None:
    data = ready(Digits, test_fraction=0.0)
    with pytest.raises(ValueError, match="test_fraction is 0"):
        data.test_dataloader()


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    load_digits.cache_clear()
    with pytest.raises(ValueError, match="pip install scikit-learn"):
        load_digits()


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (9, 4, [4, 4]),  # batch normalisation cannot learn from one sample
        (3, 1, [1, 1, 1]),  # but a batch size of one is what was asked for
        (3, 100, [3]),
    ],
)
def test_training_leaves_out_only_a_last_batch_of_one_sample(samples: int, batch_size: int, sizes: list[int]) -> None:
    batches = _numbered(samples, batch_size, training=True)
    assert [len(targets) for _, targets in batches] == sizes
    assert len(batches) == len(sizes)


def test_evaluation_takes_every_sample_in_order() -> None:
    batches = list(_numbered(9, 4))
    assert [targets.tolist() for _, targets in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_batch_may_be_changed_without_changing_the_data() -> None:
    batches = _numbered(4, 4)
    inputs, _ = next(iter(batches))
    assert isinstance(inputs, torch.Tensor)
    inputs.zero_()
    assert samples_of(batches) == samples_of(_numbered(4, 4))


def test_too_few_samples_for_a_batch_are_an_error() -> None:
    with pytest.raises(ValueError, match="0 samples are too few"):
        list(_numbered(0, 4))


def _numbered(samples: int, batch_size: int, *, training: bool = False) -> Batches:
    features = torch.arange(samples, dtype=torch.float32).unsqueeze(1)
    return Batches(features, torch.arange(samples), batch_size, training=training)
