"""Where a model is wrong, why it decides so, and the simple models beside it, on data whose answers are known."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from projects.arrays import Arrays, Forward, fitted_of
from recorded import measured_csv
from torch import Tensor
from torch.utils.data import DataLoader

from hpo.training.evaluation.baselines import baselines_of
from hpo.training.evaluation.explain import INSTALL, explanations_of
from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.mistakes import slices_of, worst_mistakes
from hpo.training.evaluation.outputs import Outputs, outputs_of
from hpo.training.evaluation.together import Group
from models.data import Series

ROWS = 200
X = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
IS_FLIPPED = torch.arange(ROWS) % 5 == 0  # whose group is 'b': the model is wrong there


class Kept(Arrays):
    """Says how its samples were read."""

    def original(self, part: str) -> Any:
        assert part == "validation"
        return self.frame  # type: ignore[attr-defined]


def judged(function: Callable[[Any], Any], data: Arrays) -> tuple[Group, Fitted, Outputs]:
    fitted = fitted_of(data)
    group = Group(fitted, [Forward(function)], [1], [0])
    outputs, notes = outputs_of(group.models[0], fitted)
    assert outputs is not None, notes
    return group, fitted, outputs


def explained(function: Callable[[Any], Any], data: Arrays) -> tuple[list[dict[str, Any]], list[str]]:
    group, _, outputs = judged(function, data)
    return explanations_of(group, outputs, "accuracy")


def table(**more: Any) -> Kept:
    frame = pd.DataFrame({"group": np.where(IS_FLIPPED, "b", "a"), "size": np.arange(ROWS) / 10.0})
    frame.loc[::7, "size"] = np.nan
    return Kept(X, torch.where(IS_FLIPPED, 1 - Y, Y), frame=frame, class_names=["no", "yes"], **more)


def logits(x: Tensor) -> Tensor:
    return torch.stack([-4 * x[:, 0], 4 * x[:, 0]], 1)


def pixels(uri: str) -> Image.Image:
    head, content = uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


# ---- mistakes


def test_the_worst_mistakes_are_wrong_ones_with_their_values_the_worst_first() -> None:
    _, fitted, outputs = judged(logits, table())

    found = worst_mistakes(fitted, outputs)

    expected = sorted(np.flatnonzero(IS_FLIPPED), key=lambda row: -abs(float(X[row, 0])))[:12]
    assert [one["sample"] for one in found] == expected
    assert [one["loss"] for one in found] == sorted((one["loss"] for one in found), reverse=True)
    first = found[0]
    assert first["target"] == ("no" if X[expected[0], 0] > 0 else "yes")
    assert first["predicted"] == ("yes" if X[expected[0], 0] > 0 else "no") + ", with 100%"
    assert first["values"]["group"] == "b"
    assert first["picture"] is None
    assert all(one["values"]["size"] is None or one["values"]["size"] * 10 == one["sample"] for one in found)


def test_a_model_without_mistakes_has_none_to_show() -> None:
    _, fitted, outputs = judged(logits, Arrays(X, Y))

    assert worst_mistakes(fitted, outputs) == []


def test_images_and_sequences_are_shown() -> None:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    sequences = torch.rand(20, 12, 2, generator=torch.Generator().manual_seed(1))
    wrong = torch.arange(20) % 2

    for x in (images, sequences):
        _, fitted, outputs = judged(
            lambda x: torch.stack([x.flatten(1)[:, 0], 0 * x.flatten(1)[:, 0]], 1), Arrays(x, wrong)
        )
        found = worst_mistakes(fitted, outputs)
        assert [one["target"] for one in found] == ["1"] * 10
        assert min(pixels(found[0]["picture"]).size) > 50


def test_worst_forecasts_are_those_with_the_largest_error_in_their_own_spread() -> None:
    truth = torch.stack([torch.linspace(0, 1, 50), torch.linspace(0, 1000, 50)], 1)
    off = truth.clone()
    off[7, 0] += 0.5
    off[9, 1] += 100
    data = Arrays(off, truth, task="regression")

    found = worst_mistakes(*judged(lambda x: x, data)[1:])

    assert [one["sample"] for one in found[:2]] == [7, 9]
    assert (found[0]["target"], found[0]["predicted"]) == ("0.1429, 142.9", "0.6429, 142.9")


# ---- slices


def test_slices_on_which_it_is_worse_are_named_the_worst_first() -> None:
    _, fitted, outputs = judged(logits, table())

    found = slices_of(fitted, outputs, "accuracy")

    assert (found[0]["of"], found[0]["value"], found[0]["value_of_metric"]) == ("group", "b", 0)
    assert found[0]["samples"] == int(IS_FLIPPED.sum())
    assert found[0]["low"] == 0 < found[0]["high"] < 0.2
    assert all(one["value_of_metric"] < 0.8 for one in found)
    assert {one["of"] for one in found[1:]} <= {"size"}
    assert "a" not in [one["value"] for one in found]


def test_slices_need_ten_samples_and_values_that_are_shared() -> None:
    data = table()
    data.frame = pd.DataFrame(  # type: ignore[attr-defined]
        {"few": ["rare"] * 9 + ["other"] * (ROWS - 9), "name": [f"row {row}" for row in range(ROWS)], "same": "all"}
    ).assign(missing=pd.Series("known", range(ROWS)).mask(IS_FLIPPED.numpy()))

    found = slices_of(*judged(logits, data)[1:], "accuracy")

    assert [(one["of"], one["value"]) for one in found if one["of"] in ("name", "same")] == []
    assert ("few", "rare") not in [(one["of"], one["value"]) for one in found]
    assert (found[0]["of"], found[0]["value"]) == ("missing", "(missing)")


def test_a_score_that_is_better_when_lower_is_worse_when_higher() -> None:
    _, fitted, outputs = judged(logits, table())

    assert slices_of(fitted, outputs, "log_loss")[0]["value"] == "b"


# ---- explanations


def test_the_column_that_decides_is_the_important_one() -> None:
    [[found], notes] = explained(logits, Arrays(X, Y, feature_names=["decides", "idle", "noise"]))

    assert notes == []
    assert found["table"][0]["name"] == "decides"
    assert found["table"][0]["low"] > 0.3
    assert [row["value"] for row in found["table"][1:]] == [0, 0]


def test_numbers_of_one_column_are_permuted_together_and_categories_too() -> None:
    codes = torch.stack([Y, 1 - Y], 1)

    def model(inputs: tuple[Tensor, Tensor]) -> Tensor:
        return torch.stack([1.0 - inputs[1][:, 0], 0.0 + inputs[1][:, 0]], 1)

    class Both(Arrays):
        def val_dataloader(self) -> Any:
            samples: Any = [((row[:3], row[3:].long()), y) for row, y in zip(*self._samples.tensors, strict=True)]
            return DataLoader(samples, 16)

    data = Both(torch.cat([X, codes], 1), Y, source_columns=["date", "date", "size", "kind", "kind"])

    [[found], _] = explained(model, data)

    assert sorted(row["name"] for row in found["table"]) == ["date", "kind", "size"]
    assert found["table"][0]["name"] == "kind"
    assert found["table"][1]["value"] == 0


@pytest.mark.parametrize("shape", [(1, 8, 8), (12, 2)], ids=["images", "sequences"])
def test_gradients_show_what_a_prediction_rests_on(shape: tuple[int, ...]) -> None:
    x = torch.rand(30, *shape, generator=torch.Generator().manual_seed(2))
    first = x.flatten(1)[:, 0]

    def model(x: Tensor) -> Tensor:
        return torch.stack([0 * x.flatten(1)[:, 0], x.flatten(1)[:, 0] - 0.5], 1)

    [[found], notes] = explained(model, Arrays(x, (first > 0.5).long()))

    assert notes == []
    assert pixels(found["picture"]).size[0] > 200
    if len(shape) == 2:  # the first value of the first step
        assert [(row["name"], row["value"]) for row in found["table"]] == [("feature 1", 1), ("feature 2", 0)]


def test_without_captum_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    x = torch.rand(30, 1, 8, 8)

    found, notes = explained(lambda x: x.flatten(1)[:, :2], Arrays(x, torch.arange(30) % 2))

    assert (found, notes) == ([], [INSTALL])
    assert "pip install 'hpo-service[explain]'" in INSTALL


def test_what_has_no_gradient_or_an_unknown_shape_is_told() -> None:
    images, volumes = torch.rand(30, 1, 8, 8), torch.rand(30, 5, 5, 5, 5)
    y = torch.arange(30) % 2

    no_gradient = explained(lambda x: x.detach().flatten(1)[:, :2], Arrays(images, y))
    no_kind = explained(lambda x: x.flatten(1)[:, :2], Arrays(volumes, y))

    assert "integrated gradients cannot be computed: RuntimeError: " in no_gradient[1][0]
    assert no_kind == ([], ["inputs of the shape (5, 5, 5, 5) are not explained"])


# ---- simple models


def named(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found}


def test_a_table_is_compared_with_linear_and_boosted_models() -> None:
    _, fitted, outputs = judged(logits, Arrays(X, Y))

    found = named(baselines_of(fitted, outputs, "accuracy", latent=2))

    assert list(found) == ["majority class", "logistic regression", "gradient boosting"]
    assert found["majority class"]["is_beaten"]
    assert found["majority class"]["metrics"]["accuracy"] == max(Y.float().mean(), 1 - Y.float().mean())
    assert not found["gradient boosting"]["is_beaten"]  # which is fitted on the same samples here
    assert found["gradient boosting"]["gain"] == {"value": 0, "low": 0, "high": 0}


def test_values_are_compared_in_their_own_unit() -> None:
    unit: dict[str, Any] = {"target_mean": [100.0], "target_scale": [10.0], "task": "regression"}
    _, fitted, outputs = judged(lambda x: x[:, :1] + 0.5, Arrays(X, X[:, :1], **unit))

    found = named(baselines_of(fitted, outputs, "rmse", latent=2))

    assert found["mean"]["metrics"]["rmse"] == pytest.approx(10 * float(X[:, 0].std(correction=0)), rel=1e-4)
    assert found["linear regression"]["metrics"]["rmse"] < 0.1
    assert found["linear regression"]["gain"]["high"] < 0  # the network is worse, with certainty
    assert not found["linear regression"]["is_beaten"]
    assert found["mean"]["is_beaten"]


def test_images_are_compared_on_their_pixels() -> None:
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    _, fitted, outputs = judged(lambda x: x.flatten(1)[:, :3], Arrays(x, x.flatten(1)[:, :3].argmax(1)))

    found = named(baselines_of(fitted, outputs, "accuracy", latent=2))

    assert list(found) == ["majority class", "logistic regression", "nearest neighbour"]
    assert found["logistic regression"]["what"] == "on the pixels"
    assert found["nearest neighbour"]["metrics"]["accuracy"] == 1  # it knows these images


@pytest.mark.parametrize("differencing", ["none", "first"])
def test_forecasts_are_compared_with_the_last_values_and_a_linear_map_in_the_files_unit(differencing: Any) -> None:
    data = Series(
        measured_csv(), target="wind", features="", horizon=2, window=24, period=24, differencing=differencing
    )
    data.setup("fit")
    fitted = fitted_of(data)
    outputs, _ = outputs_of(Forward(lambda x: 0 * x[:, :2, 0]), fitted)
    assert outputs is not None
    wind = pd.read_csv(measured_csv())["wind"].to_numpy()
    windows = np.lib.stride_tricks.sliding_window_view(wind[1:], len(outputs.truth))
    [before] = np.flatnonzero(np.isclose(windows, outputs.truth[:, 0], atol=1e-3).all(axis=1))

    found = named(baselines_of(fitted, outputs, "rmse", latent=2))

    assert list(found) == ["linear autoregression", "last value", "seasonal last value"]
    known = wind[before : before + len(outputs.truth)]
    expected = np.sqrt(np.square(outputs.truth - known[:, None]).mean())
    assert found["last value"]["metrics"]["rmse"] == pytest.approx(expected, rel=1e-4)
    assert found["linear autoregression"]["metrics"]["rmse"] < found["last value"]["metrics"]["rmse"]


def test_reconstructions_are_compared_with_as_many_principal_components() -> None:
    class Coding(Forward):
        def encode(self, inputs: Tensor) -> Tensor:
            return inputs[:, :1]

    plane = X[:, :1] @ torch.ones(1, 6)
    fitted = fitted_of(Arrays(plane, plane))
    outputs, _ = outputs_of(Coding(lambda x: x + 0.1), fitted)
    assert outputs is not None

    found = named(baselines_of(fitted, outputs, "loss", latent=1))

    assert found["mean"]["is_beaten"]
    assert found["principal components"]["what"] == "1, as many as the code has numbers"
    assert found["principal components"]["metrics"]["loss"] < 1e-9
    assert not found["principal components"]["is_beaten"]
