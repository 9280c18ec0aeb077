"""Recurrent layers in plain steps give the states that torch's own layers give."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.recurrent import CELLS
from models.recurrent_steps import is_exporting, states_in_steps

KINDS = [("lstm", {}), ("gru", {}), ("rnn", {"nonlinearity": "tanh"}), ("rnn", {"nonlinearity": "relu"})]


@pytest.mark.parametrize(("kind", "layers", "both"), [*itertools.product(KINDS, (1, 2), (False, True))])
def test_steps_give_the_states_of_torchs_layers(kind: tuple[str, dict[str, Any]], layers: int, both: bool) -> None:
    torch.manual_seed(layers)
    module = CELLS[kind[0]](3, 5, layers, batch_first=True, bidirectional=both, **kind[1]).eval()
    x, lengths = torch.randn(4, 6, 3), torch.tensor([6, 1, 4, 3])
    is_there = torch.arange(6) < lengths[:, None]

    with torch.no_grad():
        found, whole = states_in_steps(module, x, lengths), states_in_steps(module, x, None)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        expected = pad_packed_sequence(module(packed)[0], batch_first=True)[0]
        expected_whole = module(x)[0]

    torch.testing.assert_close(found[is_there], expected[is_there], rtol=0, atol=1e-6)
    torch.testing.assert_close(whole, expected_whole, rtol=0, atol=1e-6)
    if both:
        assert not found[~is_there].any()


def test_steps_are_for_exports_only() -> None:
    assert not is_exporting()
