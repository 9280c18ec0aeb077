"""Forecasts in the level and the scale of their windows: what they do not depend on, and where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.training.arguments import given_by_data
from models.conv1d import Conv1d
from models.data.series import Series
from models.linear import Linear
from models.recurrent import Recurrent
from models.window_scaling import WindowScaling

STEPS, HORIZON = 6, 3
FAMILIES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "Conv1d": (Conv1d, {"width": 4, "readout": "last"}),
    "Linear": (Linear, {"hidden": 16}),
    "Recurrent": (Recurrent, {"hidden": 4, "cell": "gru"}),
}


def data_of(folder: Path, **options: Any) -> Series:
    """Two series, one to forecast of another unit than the other, and a feature."""
    steps = np.arange(120)
    generator = np.random.default_rng(0)
    columns = {
        "a": 200 + 5 * np.sin(steps / 3) + generator.normal(0, 1, 120),
        "b": steps / 20 + generator.normal(0, 2, 120),
        "feature": generator.normal(7, 1, 120),
    }
    rows = [f"{step},{','.join(str(column[step]) for column in columns.values())}" for step in steps]
    path = folder / "series.csv"
    path.write_text("\n".join(["step,a,b,feature", *rows]))
    data = Series(str(path), target="a, b", window=STEPS, horizon=HORIZON, **{"differencing": "none"} | options)
    data.setup("fit")
    return data


def model_of(family: str, data: Series, **arguments: Any) -> Any:
    model_class, own = FAMILIES[family]
    torch.manual_seed(0)
    arguments = own | arguments
    model = model_class(**given_by_data(model_class, arguments, data), **arguments)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model.eval()


def forecast(model: Any, data: Series, levels: Tensor) -> Tensor:
    """In the file's unit (batch, horizon, 2), of windows in the file's unit (batch, steps, 3)."""
    shift, scale = (torch.from_numpy(np.asarray(data.fitted_state()[name])) for name in ("shift", "scale"))
    inputs = ((levels - shift) / scale).float()
    found: Tensor = model.predict_step((inputs, None), 0)
    return found.double().reshape(len(levels), HORIZON, 2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["last", "mean", "standard"])
def test_a_window_at_another_level_has_the_same_forecast_there(family: str, kind: str, tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model, shift = model_of(family, data, window_scaling=kind), torch.tensor([37.0, -4.0])
    levels = torch.from_numpy(data._file.values[:STEPS][None])
    moved = levels.clone()
    moved[:, :, :2] += shift

    torch.testing.assert_close(forecast(model, data, moved), forecast(model, data, levels) + shift, rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_in_another_scale_has_the_same_forecast_there(family: str, tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model = model_of(family, data, window_scaling="standard")
    levels = torch.from_numpy(data._file.values[:STEPS][None])
    center = levels[:, :, :2].mean(1, keepdim=True)
    wider = torch.cat([center + 3 * (levels[:, :, :2] - center), levels[:, :, 2:]], dim=2)

    one, other = forecast(model, data, levels), forecast(model, data, wider)

    torch.testing.assert_close(other, center + 3 * (one - center), rtol=0, atol=1e-3)


def test_a_feature_beside_the_targets_keeps_its_level(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model, levels = (
        model_of("Linear", data, window_scaling="standard"),
        torch.from_numpy(data._file.values[:STEPS][None]),
    )
    moved = levels.clone()
    moved[:, :, 2] += 2

    assert (forecast(model, data, moved) - forecast(model, data, levels)).abs().min() > 1e-3


@pytest.mark.parametrize("kind", ["last", "mean"])
def test_a_linear_forecast_begins_as_the_level_of_the_window(kind: str, tmp_path: Path) -> None:
    data = data_of(tmp_path)
    arguments = {"window_scaling": kind, "hidden": 16}
    model = Linear(**given_by_data(Linear, arguments, data), **arguments).eval()  # type: ignore[arg-type]
    levels = torch.from_numpy(data._file.values[:STEPS][None])

    known = levels[0, -1, :2] if kind == "last" else levels[0, :, :2].mean(0)
    torch.testing.assert_close(forecast(model, data, levels)[0], known.expand(HORIZON, 2), rtol=0, atol=1e-4)


def test_differences_have_no_level_to_subtract_and_only_a_scale(tmp_path: Path) -> None:
    data = data_of(tmp_path, differencing="first")
    first, *_ = data.val_dataloader()

    plain, last, standard = (
        model_of("Recurrent", data, window_scaling=kind).predict_step(first, 0) for kind in ("none", "last", "standard")
    )

    assert data.level_mean == data.level_scale == ()
    torch.testing.assert_close(last, plain)
    assert (standard - plain).abs().max() > 1e-3


def test_a_window_without_any_change_has_a_finite_forecast(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    model = model_of("Linear", data, window_scaling="standard")

    found = forecast(model, data, torch.full((1, STEPS, 3), 200.0, dtype=torch.float64))

    assert found.isfinite().all()


def test_sequences_with_lengths_of_their_own_are_refused() -> None:
    model = Recurrent((STEPS, 1), 1, task="regression", window_scaling="standard")

    with pytest.raises(ValueError, match=r"^window_scaling 'standard' is for windows of a series, not for sequences"):
        model((torch.randn(2, STEPS, 1), torch.tensor([3, 6])))


def test_without_a_scaling_nothing_is_asked_of_the_data() -> None:
    given = {"window_scaling": "none", "task": "multiclass", "outputs": 5, "horizon": 1, "level_mean": ()}
    x, lengths = torch.randn(2, STEPS, 1), torch.tensor([3, 6])

    found = WindowScaling(given, who="Net")(x, lengths, lambda inputs, steps: (inputs, steps))

    assert found == (x, lengths)
