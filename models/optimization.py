"""Optimizers and learning-rate schedules, by the names in search spaces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from torch import nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from hpo.space import Choice, Float

# Of the others, none was among the best trials of 62 searches; a study file may list them.
OptimizerName = Annotated[
    Literal["adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "sgd"], Choice("adam", "adamw", "nadam")
]
LearningRate = Annotated[float, Float(1e-4, 3e-2, log=True)]
WeightDecay = Annotated[float, Float(1e-6, 1e-1, log=True)]
# Searched where a study file lists choices: trials with an annealed learning rate and others cannot be compared before
# their ends, as a pruner does.
ScheduleName = Literal["constant", "cosine", "one_cycle", "step", "plateau"]

# Other devices, such as TPUs, have no fused step.
DEVICES_WITH_FUSED_STEP = frozenset({"cpu", "cuda", "mps", "xpu"})

LEVELS_OF_STEP = 4  # learning rates of a step schedule, each for the same number of steps
STEP_FACTOR = 0.1  # from one of them to the next
PLATEAU_FACTOR = 0.5  # by which a plateau schedule multiplies the learning rate
PLATEAU_PATIENCE = 2  # consecutive epochs without a better validation loss that it tolerates
LOWEST_OF_WARMUP = 0.01  # fraction of the learning rate at the start of a warm-up


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter] | list[dict[str, Any]],
    *,
    device: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    may_fuse: bool = True,
) -> Optimizer:
    """The optimizer, with torch's fastest step for it on this type of device.

    Args:
        momentum: of sgd and rmsprop; nesterov: of sgd, where momentum is not 0.
        may_fuse: a fused step is allowed; it unscales gradients itself, so they cannot be clipped before it.

    Raises:
        ValueError: an unknown name.
    """
    # Without a fused step, foreach is the fastest, also on a CPU, where it is not the default.
    foreach: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "foreach": True}
    is_fused = may_fuse and device in DEVICES_WITH_FUSED_STEP
    fused = {"lr": lr, "weight_decay": weight_decay, "fused": True} if is_fused else foreach
    match name:
        case "adam":
            return optim.Adam(parameters, **fused)
        case "adamw":
            return optim.AdamW(parameters, **fused)
        case "sgd":
            return optim.SGD(parameters, momentum=momentum, nesterov=nesterov and momentum > 0, **fused)
        case "nadam":
            return optim.NAdam(parameters, **foreach)
        case "rmsprop":
            return optim.RMSprop(parameters, momentum=momentum, **foreach)
        case "adagrad":
            return optim.Adagrad(parameters, **(fused if device == "cpu" else foreach))
        case "adadelta":
            return optim.Adadelta(parameters, **foreach)
    raise ValueError(f"optimizer: '{name}' should be adam, adamw, nadam, rmsprop, adagrad, adadelta or sgd")


def make_schedule(name: str, optimizer: Optimizer, *, steps: int, warmup: float = 0.0) -> Mapping[str, Any] | None:
    """Lightning's `lr_scheduler`; None for a constant learning rate without warm-up.

        constant   does not change
        cosine     falls to 0 along half a cosine; Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts
        step       is divided by 10 after each quarter of the steps
        one_cycle  rises from 4 % for 30 % of the steps, then falls to almost 0; Smith and Topin 2017, arXiv 1708.07120.
                   The momentum does not change
        plateau    is halved after three consecutive epochs without a better `val_loss`

    Args:
        steps: optimizer steps of the whole training.
        warmup: fraction of the steps in which the learning rate first rises linearly; one_cycle has its own rise, and
            plateau has none.

    Raises:
        ValueError: an unknown name.
    """
    before = round(warmup * steps)
    after = max(1, steps - before)
    then: LRScheduler | None
    match name:
        case "constant":
            then = None
        case "cosine":
            then = CosineAnnealingLR(optimizer, T_max=after)
        case "step":
            milestones = [math.ceil(after * level / LEVELS_OF_STEP) for level in range(1, LEVELS_OF_STEP)]
            then = MultiStepLR(optimizer, milestones, gamma=STEP_FACTOR)
        case "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            cycle = OneCycleLR(optimizer, max_lr=rates, total_steps=max(2, steps), cycle_momentum=False)
            return {"scheduler": cycle, "interval": "step"}
        case "plateau":
            lowered = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
            return {"scheduler": lowered, "monitor": "val_loss"}
        case _:
            raise ValueError(f"schedule: '{name}' should be constant, cosine, one_cycle, step or plateau")
    if before:
        rise = LinearLR(optimizer, start_factor=LOWEST_OF_WARMUP, total_iters=before)
        then = rise if then is None else SequentialLR(optimizer, [rise, then], milestones=[before])
    return None if then is None else {"scheduler": then, "interval": "step"}
