"""Optimizers are the ones named, with torch's fastest step, and learning rates follow the promised curves."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn, optim

from models.optimization import make_optimizer, make_schedule

NAMES = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "sgd": optim.SGD,
}
STEPS = 40


def optimizer(name: str = "sgd", device: str = "cpu", **options: Any) -> optim.Optimizer:
    return make_optimizer(
        name, [nn.Parameter(torch.ones(3))], device=device, **{"lr": 0.5, "weight_decay": 0} | options
    )


def rates(schedule: str, *, steps: int = STEPS, warmup: float = 0.0, **options: Any) -> list[float]:
    """The learning rate of each step, as a part of the one that was asked for."""
    optimizer_ = optimizer(**options)
    made = make_schedule(schedule, optimizer_, steps=steps, warmup=warmup)
    seen = []
    for _ in range(steps):
        seen.append(optimizer_.param_groups[0]["lr"] / 0.5)
        optimizer_.param_groups[0]["params"][0].grad = torch.ones(3)
        optimizer_.step()
        if made is not None:
            assert made["interval"] == "step"
            made["scheduler"].step()
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_the_optimizer_is_the_one_named(name: str) -> None:
    made = optimizer(name, lr=0.02, weight_decay=0.003, momentum=0.4)
    assert type(made) is NAMES[name]
    assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.02, 0.003)
    if name in ("sgd", "rmsprop"):
        assert made.defaults["momentum"] == 0.4


@pytest.mark.parametrize(
    ("device", "fused"),
    [
        ("cpu", {"adam", "adamw", "sgd", "adagrad"}),
        ("cuda", {"adam", "adamw", "sgd"}),
        ("hpu", set()),
    ],
)
def test_the_step_is_fused_where_torch_can_and_foreach_elsewhere(device: str, fused: set[str]) -> None:
    made = {name: optimizer(name, device).defaults for name in NAMES}
    assert {name for name, defaults in made.items() if defaults.get("fused")} == fused
    assert {name for name, defaults in made.items() if defaults.get("foreach")} == NAMES.keys() - fused


def test_a_step_that_must_not_be_fused_is_not() -> None:
    assert not any(optimizer(name, may_fuse=False).defaults.get("fused") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_step_is_that_of_the_plain_optimizer(name: str) -> None:
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.01} | (
        {"momentum": 0.5} if name in ("sgd", "rmsprop") else {}
    )
    fast, plain = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(7))
    steppers = [
        make_optimizer(name, [fast], device="cpu", **{"momentum": 0.5} | options),
        NAMES[name]([plain], foreach=False, **options),
    ]
    torch.manual_seed(0)
    for _ in range(5):
        fast.grad = torch.randn(7)
        plain.grad = fast.grad.clone()
        for stepper in steppers:
            stepper.step()
    torch.testing.assert_close(fast, plain)


def test_nesterov_needs_momentum_and_is_off_without() -> None:
    assert optimizer("sgd", momentum=0.9, nesterov=True).defaults["nesterov"] is True
    assert optimizer("sgd", momentum=0.0, nesterov=True).defaults["nesterov"] is False


def test_groups_of_parameters_keep_their_own_learning_rates() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.01)]
    made = make_optimizer("adam", groups, device="cpu", lr=0.5, weight_decay=0)
    cosine = make_schedule("cosine", made, steps=2)
    assert cosine is not None
    made.step()
    cosine["scheduler"].step()
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.05, 0.005])


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'lion' should be adam, adamw, nadam, rmsprop, adagrad, adadelta or sgd"):
        optimizer("lion")
    with pytest.raises(ValueError, match="'linear' should be constant, cosine, one_cycle, step or plateau"):
        make_schedule("linear", optimizer(), steps=5)


def test_constant_needs_no_scheduler() -> None:
    assert make_schedule("constant", optimizer(), steps=STEPS) is None


def test_cosine_falls_to_almost_nothing_along_a_cosine() -> None:
    expected = [(1 + math.cos(math.pi * step / STEPS)) / 2 for step in range(STEPS)]
    assert rates("cosine") == pytest.approx(expected)


def test_step_divides_by_ten_after_each_quarter() -> None:
    assert rates("step") == pytest.approx([1.0] * 10 + [0.1] * 10 + [0.01] * 10 + [0.001] * 10)


def test_one_cycle_rises_for_30_percent_and_falls_to_almost_nothing() -> None:
    seen = rates("one_cycle")
    assert seen[0] == pytest.approx(0.04)
    assert max(seen) == pytest.approx(seen[11]) == pytest.approx(1)
    assert all(before < after for before, after in pairwise(seen[:12]))
    assert all(before > after for before, after in pairwise(seen[11:]))
    assert seen[-1] < 1e-4


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_one_cycle_keeps_the_momentum_that_was_searched(name: str) -> None:
    made = optimizer(name, momentum=0.3)
    before = {key: made.param_groups[0][key] for key in ("momentum", "betas") if key in made.param_groups[0]}
    cycle = make_schedule("one_cycle", made, steps=STEPS)
    assert cycle is not None
    for _ in range(5):
        made.step()
        cycle["scheduler"].step()
    assert {key: made.param_groups[0][key] for key in before} == before


@pytest.mark.parametrize(("schedule", "first"), [("constant", 1.0), ("cosine", 1.0), ("step", 1.0)])
def test_a_warm_up_rises_linearly_and_then_the_schedule_begins(schedule: str, first: float) -> None:
    seen = rates(schedule, warmup=0.25)
    assert seen[:10] == pytest.approx([0.01 + 0.99 * step / 10 for step in range(10)])
    assert seen[10] == pytest.approx(first)
    assert seen[10:] == pytest.approx(rates(schedule, steps=30))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_short_trainings_are_no_exception(schedule: str, steps: int, warmup: float) -> None:
    seen = rates(schedule, steps=steps, warmup=warmup)
    assert all(0 <= rate <= 1 + 1e-9 for rate in seen)
    assert max(seen) > 0.25


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "one_cycle"])
def test_every_schedule_moves_every_optimizer(name: str, schedule: str) -> None:
    seen = rates(schedule, name=name, warmup=0.1)
    assert len(set(seen)) > 1


def test_plateau_halves_after_three_epochs_without_a_better_validation_loss() -> None:
    made = optimizer()
    plateau = make_schedule("plateau", made, steps=STEPS)
    assert plateau is not None
    assert plateau["monitor"] == "val_loss"
    assert "interval" not in plateau  # Lightning steps it once an epoch
    seen = []
    for loss in (1.0, 0.5, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4):
        plateau["scheduler"].step(loss)
        seen.append(made.param_groups[0]["lr"])
    assert seen == [0.5] * 4 + [0.25] * 4 + [0.125]
