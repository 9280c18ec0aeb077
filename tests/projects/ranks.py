"""A model for several processes that records which rank trained which epoch, and one of whose ranks may be killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from hpo.space import Choice, Float, Int
from projects.nets import Batch, Line, Points


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


class Numbered(Ranks):
    """Has the fate of its number; in `memory`, the second rank runs out of it."""

    def __init__(self, trace: str, fates: str, number: Annotated[int, Int(0, 100)] = 0) -> None:
        fate: Any = fates.split(",")[number]
        super().__init__(trace, fate)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if str(self.fate) == "memory" and self.global_rank == 1 and self.current_epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB.")


class Drawing(Line):
    """Writes a random number of each rank after each epoch; not of the batch that is tried before the first trial."""

    def __init__(
        self, trace: str, seconds: float = 0.0, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2
    ) -> None:
        super().__init__(lr=lr, seconds=seconds)
        self.trace = trace

    def on_train_start(self) -> None:
        if self.current_epoch == 0:
            torch.manual_seed(self.global_rank)

    def on_train_epoch_end(self) -> None:
        if not Path(self.trainer.default_root_dir, "log.txt").exists():
            return
        line = {"rank": self.global_rank, "epoch": self.current_epoch, "drawn": float(torch.rand(()))}
        with Path(self.trace).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class FailsBesideAWait(Line):
    """Its second rank fails while the first one waits for something that never comes, outside of torch."""

    def __init__(self, trace: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.trace = trace

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 3:
            if self.global_rank == 1:
                Path(self.trace, "failed").touch()
                raise ValueError("rank 1 alone cannot go on")
            time.sleep(10_000)


class ReportsLate(Line):
    """Its second rank closes its connections a while before it raises: the first one reports its lost one earlier."""

    def __init__(self, fails_at: int, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.fails_at = fails_at

    def on_train_epoch_start(self) -> None:
        if self.global_rank == 1 and self.current_epoch == self.fails_at:
            torch.distributed.destroy_process_group()
            time.sleep(2.0)
            raise ValueError("rank 1 alone cannot go on")


class Fixed(Points):
    """Its batches have a size that nobody can give."""

    def __init__(self) -> None:
        super().__init__(batch_size=4)
