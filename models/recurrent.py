"""Recurrent networks: the model to start from when the features are a sequence in time, or a series to forecast."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hpo.space import Choice, Float, FromData, Int, When
from models.base import Supervised
from models.layers import INITIALIZERS, InitializerName, initialize
from models.recurrent_steps import is_exporting, states_in_steps
from models.time_convolution import TimeConvolution, check_stride, divided, steps_within
from models.window_scaling import WindowScaling, WindowScalingName

Inputs = Tensor | tuple[Tensor, Tensor]
Readout = Literal["last", "mean", "attention"]

CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Recurrent(Supervised):
    """Layers of LSTM, GRU or plain recurrent cells, a readout over time, and a linear layer to the outputs.

    Takes sequences x (batch, time, features), or (x, lengths) with lengths (batch,) from 1 to time: values beyond a
    sequence's length have no effect. Returns, depending on the data,
        many to one   (batch, outputs): a class, a value, or the values of a forecast's whole horizon at once
        many to many  (batch, time, outputs) if the data has labels `per_step`; then there is no readout
        one to many   (batch, outputs) from a decoder that computes the horizon's values one after another, each from
                      the one before: `decoder: recurrent`; the input sequence may be one step long

    Args:
        hidden: units of a layer, in each direction.
        convolution: channels of a convolution with batch norm and ReLU before the layers, over `kernel` steps, an odd
            number, of which it leaves one in `stride`: long sequences become short ones, which gated cells learn more
            from, and faster. 0 has none.
        dropout: between layers, in training.
        readout: the last state (of each direction), the mean over time, or a mean weighted by attention: a softmax
            over time of v tanh(W state); Yang et al. 2016, Hierarchical Attention Networks, NAACL.
        output_dropout: of the readout.
        decoder: recurrent is a GRU that starts from the readout; Cho et al. 2014, arXiv 1406.1078.
        initializer: of input weights, attention and head; described in models.layers.initialize. Recurrent weights are
            orthogonal (Saxe et al. 2014, arXiv 1312.6120), for each gate separately. Biases are 0, except for an LSTM's
            forget gate, which has 1: Jozefowicz et al. 2015, ICML.
        gradient_clip: Pascanu et al. 2013, arXiv 1211.5063.
        window_scaling: of forecasts; described in models.window_scaling.
        input_shape, per_step, horizon, level_mean, level_scale: from the data module.

    Raises:
        ValueError: the samples are not sequences, the data has no horizon for the recurrent decoder or the scaling of
            windows, or the convolution would leave steps without an output.
    """

    # Found on six kinds of sequences by benchmarks/portfolio.py: of 19 points, the two that are best together. Over
    # kinds that were left out, the best of them and the defaults is 0.06 behind the best of all, in units of how far
    # the median is; the best of the defaults and two random points 0.12, the defaults 0.19.
    portfolio: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "cell": "gru", "layers": 3, "hidden": 72, "dropout": 0.3, "readout": "last", "lr": 1.1e-2,
            "optimizer": "adamw", "weight_decay": 2.4e-2, "batch_size": 19,
        },
        {
            "cell": "lstm", "layers": 3, "hidden": 139, "dropout": 0.32, "readout": "mean", "lr": 4.5e-3,
            "optimizer": "adam", "weight_decay": 5e-5, "batch_size": 18,
        },
    )  # fmt: skip

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        cell: Annotated[Literal["lstm", "gru", "rnn"], Choice("lstm", "gru")] = "lstm",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        layers: Annotated[int, Int(1, 3)] = 1,
        hidden: Annotated[int, Int(16, 256, log=True)] = 64,
        bidirectional: bool = False,
        dropout: Annotated[float, Float(0.0, 0.5), When(layers=(2, 3))] = 0.0,
        readout: Annotated[Readout, Choice()] = "last",
        output_dropout: float = 0.0,
        decoder: Literal["direct", "recurrent"] = "direct",
        initializer: InitializerName = "glorot_uniform",
        initializer_std: float = 0.02,
        gradient_clip: float = 1.0,
        convolution: int = 0,
        kernel: int = 9,
        stride: int = 4,
        window_scaling: WindowScalingName = "none",
        per_step: Annotated[bool, FromData()] = False,
        horizon: Annotated[int, FromData()] = 1,
        level_mean: Annotated[tuple[float, ...], FromData()] = (),
        level_scale: Annotated[tuple[float, ...], FromData()] = (),
        **common: Any,
    ) -> None:
        super().__init__(gradient_clip=gradient_clip, **common)
        self.save_hyperparameters()
        if len(input_shape) != 2:
            raise ValueError(f"Recurrent: samples should be (time, features), not of the shape {tuple(input_shape)}")
        features = input_shape[1]
        self.convolution: TimeConvolution | None = None
        if convolution:
            check_stride(stride, kernel, per_step=per_step, who="Recurrent")
            self.convolution = TimeConvolution(features, convolution, kernel, stride=stride)
            features = convolution
        # Torch warns of dropout with a single layer, which has no effect.
        chosen: dict[str, Any] = {"dropout": dropout if layers > 1 else 0.0, "bidirectional": bidirectional}
        if cell == "rnn":
            chosen["nonlinearity"] = nonlinearity
        self.recurrent: nn.RNNBase = CELLS[cell](features, hidden, layers, batch_first=True, **chosen)
        width = hidden * (2 if bidirectional else 1)
        self.attention = _Attention(width) if readout == "attention" and not per_step else None
        self.output_dropout = nn.Dropout(output_dropout)
        self.head: nn.Module = nn.Linear(width, outputs)
        if decoder == "recurrent":
            if per_step or outputs % horizon:
                raise ValueError("Recurrent: decoder 'recurrent' is for forecasts, but this data has no horizon")
            self.head = _Decoder(width, hidden, horizon, outputs // horizon)
        initialize(self, initializer, initializer_std)
        _initialize_recurrent(self, initializer, initializer_std)
        self.window_scaling = WindowScaling(self.hparams, who="Recurrent")

    def forward(self, inputs: Inputs) -> Tensor:
        x, lengths = (inputs, None) if isinstance(inputs, Tensor) else inputs
        outputs: Tensor = self.window_scaling(x, lengths, self._outputs)
        return outputs

    def _outputs(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self.convolution is not None:
            x, lengths = self._convolved(self.convolution, x, lengths)
        states = self._states(x, lengths)
        if not self.hparams["per_step"]:
            states = self._read(states, lengths)
        outputs: Tensor = self.head(self.output_dropout(states))
        return outputs

    def _convolved(
        self, convolution: TimeConvolution, x: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, time, features) -> (batch, steps, channels), and the lengths among the steps."""
        if lengths is None:
            return convolution(x.transpose(1, 2)).relu().transpose(1, 2), None
        within = x.masked_fill(~steps_within(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)
        stride = self.hparams["stride"]
        lengths = divided(lengths, stride)
        is_there = steps_within(lengths, divided(x.shape[1], stride))[:, None]
        return convolution(within, is_there).relu().transpose(1, 2), lengths

    def _states(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """States (batch, time, units) of the last layer; those beyond a length are undefined."""
        if is_exporting():
            return states_in_steps(self.recurrent, x, lengths)
        # Forward in time, padding comes last and has no effect, and on a CPU it is faster than packing.
        if lengths is None or not self.recurrent.bidirectional:
            states: Tensor = self.recurrent(x)[0]
            return states
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def _read(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, time, units) -> (batch, units), from the steps up to each length."""
        if lengths is None:
            lengths = torch.full((states.shape[0],), states.shape[1], device=states.device)
        if self.hparams["readout"] == "last":
            last = states[torch.arange(states.shape[0], device=states.device), lengths - 1]
            if not self.recurrent.bidirectional:
                return last
            units = self.recurrent.hidden_size
            return torch.cat([last[:, :units], states[:, 0, units:]], dim=1)  # backwards, the first step comes last
        is_there = steps_within(lengths, states.shape[1])  # (batch, time)
        if self.attention is not None:
            weights: Tensor = self.attention(states, is_there)
        else:
            weights = is_there / lengths[:, None]
        # Masked, since an infinite state beyond the length times a weight of 0 would be NaN.
        return (weights[:, :, None] * states.masked_fill(~is_there[:, :, None], 0)).sum(1)


class _Attention(nn.Module):
    """States (batch, time, units) -> weights (batch, time) that sum to 1 over the steps within the length."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.inner = nn.Linear(units, units)
        self.score = nn.Linear(units, 1, bias=False)  # a bias would shift all scores equally

    def forward(self, states: Tensor, is_there: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.tanh(self.inner(states))).squeeze(-1)
        return scores.masked_fill(~is_there, -torch.inf).softmax(1)


class _Decoder(nn.Module):
    """Readout (batch, units) -> values (batch, horizon * values), one step after another."""

    def __init__(self, units: int, hidden: int, horizon: int, values: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.start = nn.Linear(units, hidden)
        self.cell = nn.GRUCell(values, hidden)
        self.values = nn.Linear(hidden, values)

    def forward(self, read: Tensor) -> Tensor:
        state = torch.tanh(self.start(read))
        steps = [self.values(state)]
        for _ in range(1, self.horizon):
            state = self.cell(steps[-1], state)
            steps.append(self.values(state))
        return torch.cat(steps, dim=1)


def _initialize_recurrent(module: nn.Module, name: str, std: float) -> None:
    draw = partial(nn.init.normal_, std=std) if name == "normal" else INITIALIZERS[name]
    for layer in module.modules():
        if not isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            continue
        for kind, weight in layer.named_parameters():
            gates = torch.split(weight.detach(), layer.hidden_size)  # they are stacked in one matrix
            for gate in gates:
                if kind.startswith("bias"):
                    nn.init.zeros_(gate)
                elif kind.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                else:
                    draw(gate)
            if isinstance(layer, nn.LSTM) and kind.startswith("bias_ih"):
                nn.init.ones_(gates[1])  # input, forget, cell, output; the two biases of a gate are added
