"""Linear forecasts: where they begin, the trend beside the values, and what is no window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from hpo.training.arguments import given_by_data
from models.data import Series
from models.linear import Linear

WEEKS = Path(__file__).parents[3] / "studies" / "data" / "co2_weekly.csv"

TIME, COLUMNS, OUTPUTS = 8, 2, 3


def linear(**arguments: Any) -> Linear:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (TIME, COLUMNS), "outputs": OUTPUTS, "task": "regression"}
    return Linear(**given | arguments)


@pytest.mark.parametrize("hidden", [0, 16])
def test_the_first_forecast_is_the_mean_of_the_targets(hidden: int) -> None:
    model = linear(hidden=hidden, target_mean=(3.0, 4.0, 5.0), target_scale=(2.0, 2.0, 2.0))

    found = model.predict_step((torch.randn(2, TIME, COLUMNS), torch.zeros(2, OUTPUTS)), 0)

    assert found.tolist() == [[3, 4, 5], [3, 4, 5]]


def test_without_a_network_a_forecast_is_linear_in_the_window() -> None:
    model = linear()
    torch.nn.init.normal_(model.linear.weight)
    x, y = torch.randn(2, 4, TIME, COLUMNS)

    torch.testing.assert_close(model(x + 3 * y), model(x) + 3 * model(y), rtol=1e-4, atol=1e-4)


def test_a_network_adds_what_is_not_linear() -> None:
    model = linear(hidden=16, dropout=0.0)
    assert model.network is not None
    torch.nn.init.normal_(model.network[-1].weight)  # type: ignore[arg-type]
    x = torch.randn(4, TIME, COLUMNS)

    assert (model(2 * x) - 2 * model(x)).abs().max() > 1e-2


def test_the_trend_is_a_centred_mean_whose_ends_repeat_the_first_and_the_last_value() -> None:
    model = linear(trend=3, input_shape=(4, 1), outputs=8)
    torch.nn.init.eye_(model.linear.weight)

    found = model(torch.tensor([[[3.0], [6.0], [0.0], [9.0]]]))

    assert found.flatten().tolist() == [4, 3, 5, 6, -1, 3, -5, 3]  # the trend, and what remains


@pytest.mark.parametrize(("time", "steps"), [(1, 1), (2, 1), (8, 7), (9, 9), (60, 25)])
def test_a_trend_over_more_steps_than_the_window_has_is_cut_to_it(time: int, steps: int) -> None:
    model = linear(input_shape=(time, COLUMNS))

    assert model.trend == steps
    assert model(torch.randn(2, time, COLUMNS)).shape == (2, OUTPUTS)


def test_what_is_no_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Linear: samples should be \(time, features\), not of the shape \(8,\)"):
        linear(input_shape=(8,))
    with pytest.raises(ValueError, match=r"^Linear: trend 4 should be an odd number of steps, or 0 for none"):
        linear(trend=4)
    with pytest.raises(ValueError, match=r"^Linear: ridge -1 should be the penalty of the weights, or 0 to begin with"):
        linear(ridge=-1)
    with pytest.raises(ValueError, match=r"^Linear: takes windows of 8 steps, not of 9"):
        linear()(torch.randn(2, 9, COLUMNS))
    with pytest.raises(ValueError, match=r"^Linear: takes windows of one length, not sequences with lengths"):
        linear()((torch.randn(2, TIME, COLUMNS), torch.tensor([3, 8])))


@pytest.mark.parametrize("scaling", ["none", "last", "mean", "standard"])
def test_training_begins_with_the_linear_map_of_ridge_regression(scaling: str) -> None:
    x = torch.randn(300, TIME, 1).cumsum(1)
    true = torch.randn(TIME, OUTPUTS)
    level: Any = {"none": 0.0, "last": x[:, -1], "mean": x.mean(1), "standard": x.mean(1)}[scaling]
    unit = x.var(1, correction=0).add(1e-5).sqrt() if scaling == "standard" else torch.ones(300, 1)
    targets = ((x[:, :, 0] - level) / unit) @ true * unit + level + 0.5 * unit
    units = {"level_mean": (0.0,), "level_scale": (1.0,), "target_mean": (0.0,) * 3, "target_scale": (1.0,) * 3}
    model = linear(input_shape=(TIME, 1), ridge=1e-9, window_scaling=scaling, horizon=OUTPUTS, **units)

    model.begin_with_ridge(x, targets)

    torch.testing.assert_close(model(x), targets, rtol=1e-3, atol=1e-3)


def test_a_larger_penalty_has_smaller_weights_and_the_same_mean() -> None:
    x, targets = torch.randn(200, TIME, COLUMNS), torch.randn(200, OUTPUTS) + 5
    x = x - x.mean(0)
    weights = []
    for ridge in (0.01, 10.0):
        model = linear(ridge=ridge)
        model.begin_with_ridge(x, targets)
        weights.append(model.linear.weight.norm())
        torch.testing.assert_close(model(x).mean(0), targets.mean(0), rtol=1e-3, atol=1e-3)
    assert weights[1] < 0.5 * weights[0]


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_trainer_lets_it_begin_with_the_training_part(ridge: float) -> None:
    data = Series(str(WEEKS), window=16, interpolation="linear")
    data.setup("fit")
    arguments: dict[str, Any] = {"ridge": ridge, "lr": 1e-9, "weight_decay": 0.0}
    arguments |= given_by_data(Linear, arguments, data)
    model, expected = Linear(**arguments), Linear(**arguments)
    if ridge:
        windows, targets, _ = data.part("train")
        assert isinstance(windows, torch.Tensor)
        expected.begin_with_ridge(windows, targets)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **options).fit(model, data)

    torch.testing.assert_close(model.linear.weight, expected.linear.weight, rtol=0, atol=1e-5)


def test_a_model_that_is_trained_further_keeps_its_weights() -> None:
    data = Series(str(WEEKS), window=16, interpolation="linear")
    data.setup("fit")
    arguments: dict[str, Any] = {"ridge": 0.1, "lr": 1e-9, "weight_decay": 0.0}
    model = Linear(**arguments, **given_by_data(Linear, arguments, data))
    torch.nn.init.ones_(model.linear.weight)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **options).fit(model, data)

    torch.testing.assert_close(model.linear.weight, torch.ones_like(model.linear.weight), rtol=0, atol=1e-5)


def test_of_many_windows_some_are_enough_to_begin() -> None:
    x = torch.randn(20_000, TIME, COLUMNS)
    true = torch.randn(TIME * COLUMNS, OUTPUTS)
    model = linear(ridge=1e-6, trend=0)

    model.begin_with_ridge(x, x.flatten(1) @ true)

    torch.testing.assert_close(model.linear.weight.T, true, rtol=1e-3, atol=1e-3)
