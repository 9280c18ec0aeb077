"""A model for several processes that records which rank trained which epoch, and one of whose ranks may be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Literal

from hpo.space import Choice
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
