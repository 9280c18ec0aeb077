"""How long a forward takes on a trial's device, measured without a trace in its training."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytorch_lightning as pl
import torch

WARM_UP, FEWEST, MOST, MOST_SECONDS = 3, 5, 50, 0.5  # passes, and what they may take together


def forward_milliseconds(trainer: pl.Trainer, forward: Callable[[], object]) -> float:
    """The median time of several passes, without gradients, in the mode of evaluation and the trial's precision.

    Args:
        forward: passes a batch through the trainer's module.
    """
    module, device = trainer.lightning_module, trainer.strategy.root_device
    was_training = {part: part.training for part in module.modules()}
    module.eval()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), trainer.precision_plugin.forward_context():
            seconds: list[float] = []
            while len(seconds) < FEWEST + WARM_UP or (len(seconds) < MOST and sum(seconds) < MOST_SECONDS):
                _wait_for(device)
                since = time.perf_counter()
                forward()
                _wait_for(device)
                seconds.append(time.perf_counter() - since)
    finally:
        for part, mode in was_training.items():
            part.training = mode
    return 1000 * median(seconds[WARM_UP:])


def _wait_for(device: torch.device) -> None:
    """Until the device has done its work; otherwise only the queueing of it is timed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
