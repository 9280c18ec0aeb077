"""The convolutional network over time: sequences of different lengths, also in training, strides and readouts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.conv1d import Conv1d
from models.time_convolution import TimeConvolution, steps_within

TIME, FEATURES, OUTPUTS = 9, 3, 4
LENGTHS = torch.tensor([4, 9, 1, 7])


def network(**arguments: Any) -> Conv1d:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (TIME, FEATURES), "outputs": OUTPUTS, "width": 6, "task": "regression"}
    return Conv1d(**given | arguments)


def padded(padding: float, time: int = TIME) -> Tensor:
    """Sequences (4, time, FEATURES) of LENGTHS, and something else where there is nothing."""
    torch.manual_seed(1)
    x = torch.full((len(LENGTHS), time, FEATURES), padding)
    whole = torch.randn(len(LENGTHS), TIME, FEATURES)
    is_there = steps_within(LENGTHS, TIME)
    x[:, :TIME][is_there] = whole[is_there]
    return x


def with_learnt_norms(model: Conv1d) -> Conv1d:
    """In evaluation, with means and variances of training, which padding would show in."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean = torch.linspace(-1, 1, module.num_features)
            module.running_var = torch.linspace(0.5, 2, module.num_features)
            nn.init.constant_(module.bias, 0.3)
    return model.eval()


POINTS = [
    {"readout": readout, "stride": stride, "kernel": kernel}
    for readout, stride, kernel in itertools.product(("mean", "max", "both", "last"), (1, 2, 4), (3, 5))
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point.values())))
def test_a_batch_with_lengths_gives_what_each_sequence_gives_alone(point: dict[str, Any]) -> None:
    model, x = with_learnt_norms(network(**point)), padded(torch.inf)

    together = model((x, LENGTHS))

    alone = [model(x[row : row + 1, :length])[0] for row, length in enumerate(LENGTHS.tolist())]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_with_a_label_a_step_each_step_gives_what_it_gives_without_padding() -> None:
    model, x = with_learnt_norms(network(per_step=True)), padded(5.0)

    together = model((x, LENGTHS))

    assert together.shape == (len(LENGTHS), TIME, OUTPUTS)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(together[row, :length], model(x[row : row + 1, :length])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("readout", ["mean", "max", "both", "last"])
def test_padding_teaches_nothing_whatever_it_holds_and_however_long_it_is(readout: str) -> None:
    one, other = network(readout=readout, dropout=0.0), network(readout=readout, dropout=0.0)

    first, second = one((padded(5.0), LENGTHS)), other((padded(-7.0, 2 * TIME), LENGTHS))
    first.square().sum().backward()
    second.square().sum().backward()

    torch.testing.assert_close(first, second)
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, kept), others in zip(one.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(kept, others, msg=name)


def test_without_padding_the_norm_is_torchs_own() -> None:
    torch.manual_seed(0)
    own, torchs = TimeConvolution(FEATURES, 5, 3), TimeConvolution(FEATURES, 5, 3)
    torchs.load_state_dict(own.state_dict())
    x = torch.randn(4, FEATURES, TIME)
    everywhere = torch.ones(4, 1, TIME, dtype=torch.bool)

    torch.testing.assert_close(own(x, everywhere), torchs(x))

    for (name, mine), theirs in zip(own.named_buffers(), torchs.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_an_output_sees_as_many_steps_as_are_promised() -> None:
    """1 + 2 (kernel - 1) (2 ** depth - 1), half of them on each side."""
    model = with_learnt_norms(network(depth=2, kernel=3, per_step=True, input_shape=(41, FEATURES)))
    x = torch.randn(1, 41, FEATURES, requires_grad=True)

    model(x)[0, 20].square().sum().backward()

    assert x.grad is not None
    seen = x.grad.abs().sum(2)[0].nonzero().flatten()
    assert [seen.min().item(), seen.max().item()] == [20 - 6, 20 + 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 4}, "Conv1d: kernel 4 should be an odd number of steps"),
        ({"stride": 0}, "Conv1d: stride 0 should be 1 or more"),
        ({"stride": 2, "per_step": True}, "Conv1d: a stride of 2 leaves steps without an output"),
        ({"input_shape": (9,)}, r"Conv1d: samples should be \(time, features\), not of the shape \(9,\)"),
        ({"task": "multiclass", "window_scaling": "last"}, "Conv1d: window_scaling 'last' is for forecasts: give none"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        network(**arguments)
