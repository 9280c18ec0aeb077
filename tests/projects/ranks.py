"""A model for several processes that records which rank trained which epoch, and one of whose ranks may be killed."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import torch

from hpo.space import Choice, Float
from projects.nets import Batch, Line


class Ranks(Line):
    """Logs `score`, the mean of the ranks' numbers plus 1, or a hopeless one; writes `trace`/fate-rank."""

    def __init__(
        self,
        trace: str,
        fate: Annotated[Literal["first", "hopeless", "killed", "raises", "second"], Choice()] = "first",
    ) -> None:
        super().__init__(lr=1e-2)
        self.trace = trace
        self.fate = fate

    def on_train_epoch_start(self) -> None:
        with Path(self.trace, f"{self.fate}-{self.global_rank}").open("a", encoding="utf-8") as file:
            file.write(f"{self.current_epoch + 1}\n")
        if self.global_rank == 1 and self.current_epoch == 1:
            if self.fate == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fate == "raises":
                raise ValueError("rank 1 alone cannot go on")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        score = 100.0 if self.fate == "hopeless" and self.current_epoch == 1 else 1.0 + self.global_rank
        self.log("score", score, sync_dist=True)


class Cramped(Line):
    """From its second epoch on, its first rank can write no file of more than some kB, as on a disk that is full."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.register_buffer("ballast", torch.zeros(100_000))

    def on_train_epoch_start(self) -> None:
        if self.global_rank == 0 and self.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", 1.0 / (1 + self.current_epoch), sync_dist=True)  # each epoch is the best so far


class Stuck(Line):
    """From its fourth epoch on, its second rank does nothing, and the first one waits for it."""

    def on_train_epoch_start(self) -> None:
        if self.global_rank == 1 and self.current_epoch == 3:
            self.wait_for_ever()

    def wait_for_ever(self) -> None:
        time.sleep(10_000)
