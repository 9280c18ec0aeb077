"""The recurrent network: sequences of different lengths, initial weights, and outputs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.space import SearchSpace
from models.recurrent import Recurrent

TIME, FEATURES, OUTPUTS = 9, 3, 4
LENGTHS = torch.tensor([4, 9, 1, 7])


def recurrent(**arguments: Any) -> Recurrent:
    torch.manual_seed(0)
    given: dict[str, Any] = {"input_shape": (TIME, FEATURES), "outputs": OUTPUTS, "hidden": 6, "task": "regression"}
    return Recurrent(**given | arguments)


def padded(padding: float) -> Tensor:
    """Sequences (4, TIME, FEATURES) of LENGTHS, and something else where there is nothing."""
    torch.manual_seed(1)
    x = torch.randn(len(LENGTHS), TIME, FEATURES)
    x[torch.arange(TIME) >= LENGTHS[:, None]] = padding
    return x


def each_alone(model: Recurrent, x: Tensor) -> list[Tensor]:
    return [model(x[row : row + 1, :length])[0] for row, length in enumerate(LENGTHS.tolist())]


# ---- lengths

CELLS = [{"cell": "lstm"}, {"cell": "gru"}, {"cell": "rnn"}, {"cell": "rnn", "nonlinearity": "relu"}]
POINTS = [
    cell | {"bidirectional": bidirectional, "layers": layers, "readout": readout}
    for cell, bidirectional, layers, readout in itertools.product(
        CELLS, (False, True), (1, 2), ("last", "mean", "attention")
    )
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point.values())))
def test_a_batch_with_lengths_gives_what_each_sequence_gives_alone(point: dict[str, Any]) -> None:
    model = recurrent(**point).eval()

    together = model((padded(5.0), LENGTHS))

    torch.testing.assert_close(together, torch.stack(each_alone(model, padded(5.0))), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("point", POINTS[::5], ids=lambda point: "-".join(map(str, point.values())))
def test_a_batch_with_lengths_learns_what_each_sequence_alone_teaches(point: dict[str, Any]) -> None:
    together, alone = recurrent(**point), recurrent(**point)

    together((padded(5.0), LENGTHS)).square().sum().backward()
    torch.stack(each_alone(alone, padded(5.0))).square().sum().backward()  # type: ignore[no-untyped-call]

    for (name, one), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("point", [point for point in POINTS if point["readout"] == "last"], ids=str)
def test_with_a_label_a_step_each_step_gives_what_it_gives_without_padding(point: dict[str, Any]) -> None:
    model = recurrent(**point, per_step=True).eval()

    together = model((padded(5.0), LENGTHS))

    assert together.shape == (len(LENGTHS), TIME, OUTPUTS)
    for row, (length, alone) in enumerate(zip(LENGTHS, each_alone(model, padded(5.0)), strict=True)):
        torch.testing.assert_close(together[row, :length], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_that_is_not_finite_changes_nothing(readout: str, bidirectional: bool) -> None:
    model = recurrent(readout=readout, bidirectional=bidirectional).eval()

    assert model((padded(torch.inf), LENGTHS)).isfinite().all()


def test_without_lengths_every_step_counts() -> None:
    model = recurrent(readout="mean", bidirectional=True).eval()
    x = torch.randn(2, TIME, FEATURES)

    torch.testing.assert_close(model(x), model((x, torch.full((2,), TIME))))


# ---- a convolution before the layers


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_after_a_convolution_a_batch_with_lengths_gives_what_each_sequence_gives_alone(
    stride: int, readout: str, bidirectional: bool
) -> None:
    model = recurrent(convolution=5, kernel=3, stride=stride, readout=readout, bidirectional=bidirectional).eval()
    assert model.convolution is not None
    nn.init.constant_(model.convolution.norm.bias, 0.3)

    together = model((padded(5.0), LENGTHS))

    torch.testing.assert_close(together, torch.stack(each_alone(model, padded(5.0))), rtol=1e-4, atol=1e-6)


def test_a_convolution_leaves_one_step_in_so_many() -> None:
    model = recurrent(convolution=5, stride=4)
    steps = []
    model.recurrent.register_forward_hook(lambda _, inputs, __: steps.append(inputs[0].shape[1:]))

    model(torch.randn(2, TIME, FEATURES))

    assert steps == [(3, 5)]


def test_a_convolution_that_leaves_labelled_steps_without_an_output_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^Recurrent: a stride of 4 leaves steps without an output, and this data has"
    ):
        recurrent(convolution=5, per_step=True)

    assert recurrent(convolution=5, stride=1, per_step=True)(torch.randn(2, TIME, FEATURES)).shape == (2, TIME, OUTPUTS)


# ---- losses of the shapes


def test_steps_beyond_a_length_are_neither_learned_nor_scored() -> None:
    model = recurrent(per_step=True, task="multiclass")
    targets = torch.randint(0, OUTPUTS, (len(LENGTHS), TIME))
    targets[torch.arange(TIME) >= LENGTHS[:, None]] = -100

    loss = model.training_step(((padded(5.0), LENGTHS), targets), 0)

    logits = torch.cat(each_alone(model, padded(5.0)))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, targets[targets != -100]))


def test_values_beyond_a_length_are_neither_learned_nor_scored() -> None:
    model = recurrent(per_step=True, task="regression")
    targets = torch.randn(len(LENGTHS), TIME, OUTPUTS)
    targets[torch.arange(TIME) >= LENGTHS[:, None]] = torch.nan

    loss = model.training_step(((padded(5.0), LENGTHS), targets), 0)

    values = torch.cat(each_alone(model, padded(5.0)))
    known = targets[~targets.isnan()].reshape(-1, OUTPUTS)
    torch.testing.assert_close(loss, nn.functional.mse_loss(values, known))


@pytest.mark.parametrize("time", [1, TIME])
def test_a_recurrent_decoder_gives_one_step_after_another(time: int) -> None:
    x = torch.randn(3, time, FEATURES)
    longer = recurrent(outputs=10, horizon=5, decoder="recurrent").eval()
    shorter = recurrent(outputs=4, horizon=2, decoder="recurrent").eval()
    shorter.load_state_dict(longer.state_dict())

    forecast = longer(x)

    assert forecast.shape == (3, 10)
    torch.testing.assert_close(shorter(x), forecast[:, :4])


def test_a_recurrent_decoder_takes_each_value_from_the_one_before() -> None:
    x = torch.randn(3, TIME, FEATURES)
    model = recurrent(outputs=4, horizon=2, decoder="recurrent").eval()
    decoder: Any = model.head

    before = model(x)
    with torch.no_grad():
        decoder.cell.weight_ih.zero_()  # the second step no longer sees the first value
    after = model(x)

    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2:], before[:, 2:])


# ---- initial weights and structure


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_weights_are_orthogonal_gate_by_gate(cell: str) -> None:
    model = recurrent(cell=cell, layers=2, bidirectional=True)

    matrices = [weight for name, weight in model.recurrent.named_parameters() if name.startswith("weight_hh")]

    assert len(matrices) == 4
    for gate in itertools.chain.from_iterable(torch.split(matrix, 6) for matrix in matrices):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [("glorot_uniform", (2 / (300 + 200)) ** 0.5), ("lecun_normal", (1 / 300) ** 0.5), ("normal", 0.05)],
)
def test_input_weights_have_the_deviation_of_the_initializer(initializer: str, deviation: float) -> None:
    model = recurrent(input_shape=(TIME, 300), hidden=200, initializer=initializer, initializer_std=0.05)

    weight: Any = model.recurrent.weight_ih_l0

    for gate in torch.split(weight, 200):
        assert gate.std().item() == pytest.approx(deviation, rel=0.03)


def test_an_lstm_starts_by_remembering() -> None:
    layer: Any = recurrent(cell="lstm").recurrent

    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).reshape(4, 6)

    assert bias.tolist() == [[0.0] * 6, [1.0] * 6, [0.0] * 6, [0.0] * 6]


def test_one_layer_ignores_the_dropout_between_layers_without_a_warning() -> None:
    assert recurrent(layers=1, dropout=0.4).recurrent.dropout == 0
    assert recurrent(layers=2, dropout=0.4).recurrent.dropout == 0.4


def test_the_condition_of_each_parameter_is_what_it_depends_on() -> None:
    space = SearchSpace.of(Recurrent)

    assert space["dropout"].when == {"layers": (2, 3)}


def test_gradients_are_clipped_by_default() -> None:
    assert recurrent().hparams["gradient_clip"] == 1.0


# ---- what does not fit


def test_samples_that_are_no_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Recurrent: samples should be \(time, features\), not of the shape \(64,\)"):
        recurrent(input_shape=(64,))


@pytest.mark.parametrize("given", [{"per_step": True}, {"horizon": 3}])
def test_a_decoder_without_a_horizon_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match="Recurrent: decoder 'recurrent' is for forecasts, but this data has no horizon"
    ):
        recurrent(decoder="recurrent", **given)
