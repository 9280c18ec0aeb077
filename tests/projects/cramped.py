"""Models whose process can write no more, as on a full disk, and one that prints without end."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import torch

from hpo.space import Float
from projects.nets import Batch, Line


def _no_more_bytes() -> None:
    """Files that have this size, or are larger, cannot grow: 'File too large', as a full disk says 'No space left'."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))


class Speechless(Line):
    """From its second epoch on, nothing that it prints or saves can be written."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            _no_more_bytes()
        print(f"epoch {self.current_epoch} begins", flush=True)


class OwnFile(Line):
    """Writes a file of its own in each epoch, for which there is no space in as many attempts as `full` says."""

    def __init__(self, attempts: str, full: int = 1, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.attempts = attempts
        self.full = full

    def on_train_epoch_start(self) -> None:
        trial = Path(self.trainer.default_root_dir).name
        if not trial.isdecimal():  # a configuration is tried out
            return
        with Path(self.attempts, trial).open("a") as file:
            file.write(f"{self.current_epoch}\n")
        if Path(self.attempts, trial).read_text().count("0\n") <= self.full:
            _no_more_bytes()
        Path(self.trainer.default_root_dir, "own.txt").write_text("a result of its own\n")


class Endless(Line):
    """Prints many lines in its first epoch, also by a child process, between two that are to be found again."""

    def __init__(self, mebibytes: int, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.mebibytes = mebibytes

    def on_train_start(self) -> None:
        print("the first line of the model")

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 0 and batch_idx == 0:
            line = "x" * 1023
            for _ in range(self.mebibytes << 10):
                print(line)
            subprocess.run(
                [sys.executable, "-c", f"for _ in range({self.mebibytes << 10}): print({line!r})"], check=True
            )
        return super().training_step(batch, batch_idx)

    def on_train_end(self) -> None:
        print("the last line of the model")
