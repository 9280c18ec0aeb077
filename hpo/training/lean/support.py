"""Finds why the lean loops cannot train a module: Lightning's own loops do then, and the reason is reported."""

from __future__ import annotations

import functools

import pytorch_lightning as pl
from pytorch_lightning.__version__ import version as lightning_version
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

# The lean loops replace private loops, which may change in the next version.
KNOWN_LIGHTNING = "2.6."

_takes = functools.lru_cache(maxsize=32)(is_param_in_hook_signature)


def obstacle(model: pl.LightningModule, *, ranks: int = 1) -> str | None:
    """Why the lean loops cannot train this module, as a text that follows 'because'; None when they can."""
    name_of_class = type(model).__name__
    if ranks > 1:
        return "the trial has several devices"
    if not lightning_version.startswith(KNOWN_LIGHTNING):
        return f"pytorch-lightning is {lightning_version}, and the lean loops are made for {KNOWN_LIGHTNING}x"
    if not model.automatic_optimization:
        return f"{name_of_class} optimises manually (automatic_optimization is False)"
    for name in ("training_step", "validation_step"):
        if _takes(getattr(model, name), "dataloader_iter", explicit=True):
            return f"{name_of_class}.{name} takes the loader's iterator (dataloader_iter)"
    return None


def obstacle_in(trainer: pl.Trainer) -> str | None:
    """The same for a training that has begun: its module, and changes of its Trainer."""
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return f"its strategy is {type(trainer.strategy).__name__}"
    if not isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]
        return "it has a profiler"
    return obstacle(trainer.lightning_module)
