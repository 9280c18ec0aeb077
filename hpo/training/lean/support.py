"""What the lean loops do not do: then Lightning's own take their place, and the reason is told."""

from __future__ import annotations

import functools

import pytorch_lightning as pl
from pytorch_lightning.__version__ import version as lightning_version
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

# The lean loops take the place of private ones, whose next version may be another.
KNOWN_LIGHTNING = "2.6."

_asks_for = functools.lru_cache(maxsize=32)(is_param_in_hook_signature)


def obstacle(model: pl.LightningModule, *, ranks: int = 1) -> str | None:
    """Why this module cannot be trained by the lean loops, in words that follow 'because'; None when it can."""
    who = type(model).__name__
    if ranks > 1:
        return "the trial has several devices"
    if not lightning_version.startswith(KNOWN_LIGHTNING):
        return f"pytorch-lightning is {lightning_version}, and the lean loops are made for {KNOWN_LIGHTNING}x"
    if not model.automatic_optimization:
        return f"{who} optimises by hand (automatic_optimization is False)"
    for name in ("training_step", "validation_step"):
        if _asks_for(getattr(model, name), "dataloader_iter", explicit=True):
            return f"{who}.{name} takes the loader's iterator (dataloader_iter)"
    return None


def obstacle_in(trainer: pl.Trainer) -> str | None:
    """The same of a training that has begun: its module, and what was made of its Trainer."""
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return f"its strategy is {type(trainer.strategy).__name__}"
    if trainer.loggers:
        return "it has a logger"
    if not isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]
        return "it has a profiler"
    return obstacle(trainer.lightning_module)
