"""The result of a replay, in words and in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hpo.service.replay_result import Difference, Replay
from hpo.study.length import Unit

EQUAL = Replay(
    study="iris",
    trial=3,
    unit=Unit.EPOCH,
    epochs=5,
    epochs_of_trial=5,
    metrics=("val_loss", "val_accuracy"),
    differences=(),
    tensors=4,
    weights_epoch=2,
    weights_note="",
    provenance_changes=(),
    notes=(),
    is_provenance_known=True,
    resumed_after=(),
    device="cpu",
)
LOSS = Difference("val_loss", 2, 0.5, 0.25, 0.25, count=4)
TENSOR = Difference("layer.weight", 2, None, None, 1e-7, kind="tensor")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "reproduced bit by bit: all of its 2 metrics in 5 epochs, and the weights of epoch 2"),
        ({"tensors": 0, "epochs": 1}, "reproduced bit by bit: all of its 2 metrics in one epoch"),
        ({"differences": (LOSS, TENSOR)}, "not reproduced: from epoch 2 on, val_loss differs"),
        (
            {"differences": (LOSS,)},
            "not reproduced: from epoch 2 on, val_loss differs; the weights of epoch 2 are bit-equal",
        ),
        (
            {"differences": (LOSS, replace(LOSS, name="val_accuracy", epoch=1)), "tensors": 0, "unit": Unit.STEP},
            "not reproduced: from step 1 on, val_loss, val_accuracy differ",
        ),
        ({"differences": (TENSOR,)}, "not reproduced: the metrics are bit-equal, and the weights differ"),
    ],
)
def test_it_ends_with_a_plain_verdict(changes: dict[str, Any], verdict: str) -> None:
    found = replace(EQUAL, **changes)

    assert found.verdict == verdict
    assert str(found).splitlines()[-1] == verdict
    assert found.is_equal == verdict.startswith("reproduced")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "  bit-equal: val_loss, val_accuracy"),
        ({}, "  weights after epoch 2: bit-equal in 4 tensors"),
        ({}, "  versions, device, data and code are as when it was trained"),
        (
            {"differences": (LOSS,)},
            "  val_loss: differs at epoch 2, 0.5 then, 0.25 now; it differs in 4 epochs, at most 0.25 apart",
        ),
        (
            {"differences": (replace(LOSS, now=None, largest=None, count=1),)},
            "  val_loss: differs at epoch 2, 0.5 then, nothing finite now",
        ),
        ({"differences": (TENSOR,)}, "    layer.weight: at most 1e-07 apart"),
        ({"weights_note": "the trial (running) has no checkpoint"}, "  weights: not compared: the trial (running) has"),
        ({"provenance_changes": ("torch: 9, before 8",)}, "    torch: 9, before 8"),
        ({"notes": ("attempt 2: torch: 9, before 8",)}, "  while it was trained: attempt 2: torch: 9, before 8"),
        ({"is_provenance_known": False}, "  from when it was trained, no versions, device or code are recorded"),
        ({"differences": (LOSS,)}, "  nothing that is recorded differs: its training draws on something that the seed"),
    ],
)
def test_it_tells_what_was_compared_and_what_was_changed(changes: dict[str, Any], line: str) -> None:
    lines = str(replace(EQUAL, **changes)).splitlines()

    assert any(found.startswith(line) for found in lines), lines


@pytest.mark.parametrize(("resumed_after", "is_said"), [((1,), True), ((2,), False), ((), False)])
def test_a_resumption_is_a_reason_only_before_the_first_difference(resumed_after: tuple[int], is_said: bool) -> None:
    text = str(replace(EQUAL, differences=(LOSS,), resumed_after=resumed_after))

    assert ("an attempt was resumed after epoch 1, and something" in text) == is_said


def test_operations_of_a_gpu_are_a_reason_only_there() -> None:
    texts = [str(replace(EQUAL, differences=(LOSS,), device=device)) for device in ("cpu", "gpu 0")]

    assert ["operations of the GPU" in text for text in texts] == [False, True]


def test_its_json_holds_all_of_it_in_plain_types() -> None:
    found = replace(EQUAL, differences=(LOSS, TENSOR), notes=("attempt 2: x",))

    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))

    assert plain == found.to_json()
    assert plain["differences"][0] == {
        "name": "val_loss", "epoch": 2, "then": 0.5, "now": 0.25, "largest": 0.25, "count": 4, "kind": "metric",
    }  # fmt: skip
    assert (plain["is_equal"], plain["verdict"], plain["unit"]) == (False, found.verdict, "epoch")
    assert {"study", "trial", "epochs", "metrics", "tensors", "provenance_changes"} <= plain.keys()
