"""A callback that ends some of a study's trials in their middle, once a state has been saved from which they resume."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytorch_lightning as pl

from hpo.study.job import LAST_CHECKPOINT

FROM_EPOCH = 3  # counted from 0
MARK = "interrupted"


class Interrupted(pl.Callback):
    """Kills the process of one trial, once, and has that of another one wait until its worker is killed.

    Neither in a replay: it knows the trials by the names of their folders.
    """

    def __init__(self, killed: int, waiting: int) -> None:
        self._folders = {f"{killed:05d}": self._kill, f"{waiting:05d}": self._wait}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        print(f"process {os.getpid()}", flush=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if folder.name not in self._folders or (folder / MARK).exists() or trainer.current_epoch < FROM_EPOCH:
            return
        # A state is saved after a second at the earliest, and later where saving takes long.
        time.sleep(0.4 * (trainer.current_epoch - FROM_EPOCH + 1))
        if (folder / LAST_CHECKPOINT).exists():
            (folder / MARK).touch()
            self._folders[folder.name]()

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _wait(self) -> None:
        while True:
            time.sleep(1.0)
