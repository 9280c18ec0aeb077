"""Optimizers and learning-rate schedules by the names that are searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from torch import nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from hpo.space import Choice, Float, When

OptimizerName = Annotated[Literal["adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "sgd"], Choice()]
LearningRate = Annotated[float, Float(1e-5, 1e-1, log=True)]
WeightDecay = Annotated[float, Float(1e-6, 1e-2, log=True)]
Momentum = Annotated[float, Float(0.0, 0.99), When(optimizer=("sgd", "rmsprop"))]
Nesterov = Annotated[bool, Choice(), When(optimizer="sgd")]
ScheduleName = Annotated[Literal["constant", "cosine", "one_cycle", "step", "plateau"], Choice()]
Warmup = Annotated[float, Float(0.0, 0.2), When(schedule=("constant", "cosine", "step"))]

# Other devices, such as TPUs, have no fused step.
DEVICES_WITH_FUSED_STEP = frozenset({"cpu", "cuda", "mps", "xpu"})

STEPS_OF_LR = 3  # a step schedule lowers the learning rate this often,
STEP_FACTOR = 0.1  # each time by this
PLATEAU_FACTOR = 0.5  # a plateau schedule lowers it by this
PLATEAU_PATIENCE = 2  # after so many epochs without a better validation loss


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter] | list[dict[str, Any]],
    *,
    device: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """The optimizer, with the fastest step that torch has for it on this type of device.

    Args:
        momentum: of sgd and rmsprop; nesterov: of sgd, where momentum is not 0.

    Raises:
        ValueError: an unknown name.
    """
    fused: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "fused": device in DEVICES_WITH_FUSED_STEP}
    # Torch has no fused step for these; foreach is next best, also on a CPU, where it is not the default.
    foreach: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "foreach": True}
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
    """What Lightning takes as `lr_scheduler`; None for a constant learning rate without warm-up.

    Args:
        steps: optimizer steps of the whole training.
        warmup: fraction of the steps in which the learning rate rises linearly from a hundredth.

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
            then = StepLR(optimizer, step_size=max(1, after // (STEPS_OF_LR + 1)), gamma=STEP_FACTOR)
        case "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            return {"scheduler": OneCycleLR(optimizer, max_lr=rates, total_steps=max(2, steps)), "interval": "step"}
        case "plateau":
            lowered = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
            return {"scheduler": lowered, "monitor": "val_loss"}
        case _:
            raise ValueError(f"schedule: '{name}' should be constant, cosine, one_cycle, step or plateau")
    if before:
        rise = LinearLR(optimizer, start_factor=0.01, total_iters=before)
        then = rise if then is None else SequentialLR(optimizer, [rise, then], milestones=[before])
    return None if then is None else {"scheduler": then, "interval": "step"}
