"""The states of recurrent layers in plain steps: for exports, which know neither packed sequences nor fused layers.

An export follows a model's operations once. Torch's own layers unroll there to the length of the example, and a plain
recurrent layer to nothing else; `scan` is one operation for any number of steps, which ONNX has too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

State = tuple[Tensor, ...]  # of a step, (batch, units) each: the first is what a layer gives


def is_exporting() -> bool:
    """Whether torch.export follows the operations."""
    asked: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return asked()


def states_in_steps(layers: nn.RNNBase, x: Tensor, lengths: Tensor | None) -> Tensor:
    """States (batch, time, units) of the last layer in evaluation mode, which those of `layers` equal to 1e-6.

    Args:
        x: (batch, time, features)
        lengths: (batch,), beyond which values have no effect; states there are undefined, of both directions 0.
    """
    inputs = x
    for layer in range(layers.num_layers):
        states = _one_direction(layers, f"l{layer}", x)
        if layers.bidirectional:
            backwards = _one_direction(layers, f"l{layer}_reverse", _reversed(x, lengths))
            states = torch.cat([states, _reversed(backwards, lengths)], dim=2)
        x = states
    if lengths is None or not layers.bidirectional:
        return x
    is_there = torch.arange(inputs.shape[1], device=x.device) < lengths[:, None]
    return x.masked_fill(~is_there[:, :, None], 0)


def _one_direction(layers: nn.RNNBase, name: str, x: Tensor) -> Tensor:
    inner: Tensor = getattr(layers, f"weight_hh_{name}")
    inner_bias: Tensor = getattr(layers, f"bias_hh_{name}")
    step, kept = _steps_of(layers, inner, inner_bias)
    given = functional.linear(x, getattr(layers, f"weight_ih_{name}"), getattr(layers, f"bias_ih_{name}"))
    start = tuple(x.new_zeros(x.shape[0], layers.hidden_size) for _ in range(kept))

    def combine(state: State, given: Tensor) -> tuple[State, Tensor]:
        after = step(state, given)
        return after, after[0].clone()  # what is given on and what is kept must be two tensors

    steps: Any = scan(combine, start, given.transpose(0, 1))
    states: Tensor = steps[1]
    return states.transpose(0, 1)


def _steps_of(layers: nn.RNNBase, weight: Tensor, bias: Tensor) -> tuple[Callable[[State, Tensor], State], int]:
    """What makes a state of the one before and an input times its weights, and the number of its tensors."""

    activation = torch.relu if getattr(layers, "nonlinearity", "tanh") == "relu" else torch.tanh

    def plain(state: State, given: Tensor) -> State:
        return (activation(given + functional.linear(state[0], weight, bias)),)

    def gru(state: State, given: Tensor) -> State:
        reset, update, new = given.chunk(3, dim=1)
        own_reset, own_update, own_new = functional.linear(state[0], weight, bias).chunk(3, dim=1)
        z = torch.sigmoid(update + own_update)
        candidate = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        return ((1 - z) * candidate + z * state[0],)

    def lstm(state: State, given: Tensor) -> State:
        enter, forget, cell, leave = (given + functional.linear(state[0], weight, bias)).chunk(4, dim=1)
        memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(enter) * torch.tanh(cell)
        return torch.sigmoid(leave) * torch.tanh(memory), memory

    if isinstance(layers, nn.LSTM):
        return lstm, 2
    return (gru if isinstance(layers, nn.GRU) else plain), 1


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence from its last step to its first; its own steps remain the first ones."""
    if lengths is None:
        return x.flip(1)
    places = (lengths[:, None] - 1 - torch.arange(x.shape[1], device=x.device)).clamp(min=0)
    return x.gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))
