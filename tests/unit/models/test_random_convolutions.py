"""Random convolutions: what they find, what is beyond a length, and that only the linear layer is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.random_convolutions import LENGTH, RandomConvolutions, kernels_by_dilation


def network(**arguments: Any) -> Any:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (40, 3), "outputs": 2, "kernels": 50}
    return RandomConvolutions(**given | arguments)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1, {1: 160}),
        (9, {1: 160}),
        (17, {1: 150, 2: 10}),
        (40, {1: 70, 2: 40, 3: 30, 4: 20}),
        (257, {1: 30, 2: 20, 3: 10, 4: 10, 5: 10, 6: 10, 8: 10, 10: 10, 12: 10, 16: 10, 20: 10, 25: 10, 32: 10}),
    ],
)
def test_dilations_are_even_on_a_logarithmic_scale_and_fit_into_the_sequence(
    time: int, expected: dict[int, int]
) -> None:
    assert kernels_by_dilation(160, time) == expected


def test_few_kernels_have_the_smallest_and_the_largest_dilation() -> None:
    assert kernels_by_dilation(2, 257) == {1: 1, 32: 1}


def test_each_kernel_has_a_mean_of_0_in_each_feature_that_it_looks_at() -> None:
    weights = torch.cat([buffer for name, buffer in network(kernels=400).named_buffers() if "weights_" in name])

    assert weights.shape == (400, 3, LENGTH)
    assert weights.mean(2).abs().max() < 1e-6
    looked_at = (weights.abs().sum(2) > 0).sum(1)
    assert set(looked_at.tolist()) == {1, 2, 3}
    torch.testing.assert_close(weights.flatten(1).norm(dim=1), torch.full((400,), 3.0))


def test_a_share_and_a_largest_value_are_those_of_the_convolution() -> None:
    model = network(input_shape=(12, 1), kernels=2)
    x = torch.randn(2, 12, 1)

    found = model._found(x, None)

    standard = ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)).transpose(1, 2)
    given = torch.nn.functional.conv1d(standard, model.weights_0, model.biases_0, padding=LENGTH // 2)
    all_steps, within = given[:, 0], given[:, 1, 4:-4]
    shares = [(values > 0).float().mean(1) for values in (all_steps, within)]
    largest = [values.amax(1) for values in (all_steps, within)]
    expected = [x.mean(1)[:, 0], *shares, x.std(1, correction=0).log()[:, 0], *largest]
    torch.testing.assert_close(found, torch.stack(expected, 1))


@pytest.mark.parametrize("per_step", [False, True])
def test_values_beyond_a_length_have_no_effect(per_step: bool) -> None:
    model = network(per_step=per_step).eval()
    torch.nn.init.normal_(model.linear.weight)
    x, lengths = torch.randn(4, 40, 3), torch.tensor([40, 25, 3, 1])
    other = x.clone()
    for row, length in enumerate(lengths):
        other[row, length:] = 1000.0

    before, after = model((x, lengths)), model((other, lengths))

    if per_step:
        is_there = torch.arange(40) < lengths[:, None]
        before, after = before[is_there], after[is_there]
    torch.testing.assert_close(before, after)
    assert before.isfinite().all()


def test_only_the_linear_layer_is_trained() -> None:
    assert [name for name, parameter in network().named_parameters() if parameter.requires_grad] == [
        "linear.weight",
        "linear.bias",
    ]


def test_it_tells_apart_what_differs_in_a_short_pattern() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(96, 100, 1), torch.arange(96) % 2
    for row in range(96):
        start = int(torch.randint(0, 90, ()))
        x[row, start : start + 9, 0] += torch.linspace(-4, 4, 9) * (1 if y[row] else -1)
    model = network(input_shape=(100, 1), task="multiclass", kernels=500)
    optimizer = torch.optim.AdamW(model.linear.parameters(), lr=3e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[:64]), y[:64])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    with torch.no_grad():
        accuracy = (model.eval()(x[64:]).argmax(1) == y[64:]).float().mean()

    assert accuracy > 0.85


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_the_linear_layer_begins_as_ridge_regression(task: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(96, 100, 1), torch.arange(96) % 2
    x += 2 * torch.sin(torch.arange(100.0)[None] / (1 + y[:, None]))[:, :, None]
    model = network(input_shape=(100, 1), task=task, outputs=2 if task == "multiclass" else 1, kernels=500)
    lengths = torch.full((96,), 100)

    model.begin_with_ridge((x[:64], lengths[:64]), y[:64] if task != "regression" else y[:64, None] * 2.0 - 1.0)

    with torch.no_grad():
        outputs = model.eval()((x[64:], lengths[64:]))
    found = outputs.argmax(1) if task == "multiclass" else (outputs[:, 0] > 0).long()
    assert (found == y[64:]).float().mean() > 0.9


def test_ridge_regression_of_so_many_samples_is_of_as_many_as_are_solved() -> None:
    x, y = torch.randn(3000, 12, 1), torch.arange(3000) % 2
    model, same = (network(input_shape=(12, 1)) for _ in range(2))

    model.begin_with_ridge(x, y)
    same.begin_with_ridge(x[::3], y[::3])

    torch.testing.assert_close(model.linear.weight, same.linear.weight)


def test_targets_that_are_unknown_are_left_out_of_the_ridge_regression() -> None:
    x, y = torch.randn(40, 12, 1), torch.randn(40, 1)
    y[::4] = torch.nan
    model, same = (network(input_shape=(12, 1), task="regression", outputs=1) for _ in range(2))

    model.begin_with_ridge(x, y)
    same.begin_with_ridge(x[~y.isnan()[:, 0]], y[~y.isnan()[:, 0]])

    torch.testing.assert_close(model.linear.weight, same.linear.weight)


def test_samples_that_are_no_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples should be \(time, features\), not of the shape \(9,\)"):
        network(input_shape=(9,))
