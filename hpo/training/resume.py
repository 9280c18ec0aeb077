"""Resuming a trial: saves the whole state of a training after an epoch, and finds the newest readable checkpoint.

There are two files. When the newer cannot be read, the older one is used, and without it the training starts from
scratch.
"""

from __future__ import annotations

import os
import pickle
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from hpo.ipc.channel import Message
from hpo.ipc.messages import Epoch
from hpo.study.job import LAST_CHECKPOINT, PREVIOUS_CHECKPOINT
from hpo.training.best import Best
from hpo.training.checkpoint import CheckpointContents, dump, needed_but_left_out, read, write

# Saving takes at most about a fiftieth of the time, and a trial of one second is not saved.
LEAST_SECONDS = 1.0
LEAST_RATIO = 50.0

_BROKEN = (OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, pickle.UnpicklingError)


class Saver:
    """Writes checkpoints, and decides when one is due."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._saved_at = time.perf_counter()
        self._seconds = 0.01

    def is_due(self) -> bool:
        return time.perf_counter() - self._saved_at > max(LEAST_SECONDS, LEAST_RATIO * self._seconds)

    def save(self, trainer: pl.Trainer, best: Best) -> CheckpointContents:
        """Write the best weights, which a resumed attempt does not compute again, and then the whole state.

        All ranks call this together.

        Raises:
            OSError: the disk is full, or the folder cannot be written; the older file is untouched.
        """
        started = time.perf_counter()
        partial, last = self._directory / "last.partial", self._directory / LAST_CHECKPOINT
        try:
            best.write(trainer)
            checkpoint = dump(trainer, weights_only=False)
            write(trainer, checkpoint.values, partial)
            if trainer.is_global_zero and not partial.is_dir():
                _to_disk(partial)
            if trainer.is_global_zero:
                if last.exists():
                    last.replace(self._directory / PREVIOUS_CHECKPOINT)
                partial.replace(last)
            return checkpoint
        finally:
            self._saved_at = time.perf_counter()
            self._seconds = self._saved_at - started


@dataclass(frozen=True)
class Saved:
    """A checkpoint to resume from.

    Attributes:
        epochs: the number of epochs, or of steps, that were trained.
        curve: the reports of the last of them.
    """

    path: str
    epochs: int
    curve: list[Epoch]


def find_saved(paths: Sequence[str]) -> tuple[Saved | None, list[str]]:
    """The first of the checkpoints that the training can continue from, and why not from those before it.

    Checkpoints that do not exist have no reason; (None, []) if there are none.
    """
    reasons = []
    for path in paths:
        if not Path(path).exists():
            continue
        try:
            contents = read(path, mmap=True)
            curves = [saved["curve"] for key, saved in contents["callbacks"].items() if key.startswith("Report")]
            curve = [Epoch(**fields) for fields in curves[0]] if curves else []
            trained = int(contents["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
            epochs = curve[-1].epoch if curve else trained
        except _BROKEN as error:
            reasons.append(f"{path} cannot be read ({_reason(error)})")
            continue
        if needed := needed_but_left_out(contents):
            reasons.append(f"{path} is without {', '.join(needed)}")
            continue
        return Saved(path, epochs, curve), reasons
    return None, reasons


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "it holds objects, and to read them could run code"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def random_state() -> Message:
    """The state of all random generators, in types that are read quickly and without running code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.tensor(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, torch.tensor(internal), gauss_next],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def of_all_ranks(state: Message) -> list[Message]:
    """The states of all ranks, which call this together; of one process, its own."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [state]
    states: list[Message] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


def set_random_state(state: Message) -> None:
    """Restore the generators to a `random_state`."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, torch.as_tensor(keys).numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(torch.as_tensor(internal).tolist()), gauss_next))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _to_disk(path: Path) -> None:
    """Wait until the file is on the disk: if renamed earlier, it could be empty after a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
