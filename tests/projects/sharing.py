"""Models for GPUs that trials share, real or simulated: what they do to each other goes through files."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Annotated

import torch

from hpo.space import Float, Int
from projects.nets import Batch, Line


class Shared(Line):
    """Writes when each trial trained on which GPU, and sleeps through its steps."""

    def __init__(self, folder: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2, seconds: float = 0.3):
        super().__init__(lr=lr, seconds=seconds)
        self.folder = Path(folder)

    @property
    def device_file(self) -> Path:
        return self.folder / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}"

    def _note(self, what: int) -> None:
        with self.device_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()} {what}\n")

    def on_train_start(self) -> None:
        self._note(+1)

    def on_train_end(self) -> None:
        self._note(-1)


class Filling(Shared):
    """Fills the GPU: while one trial trains an epoch, the others wait."""

    def on_train_epoch_start(self) -> None:
        self._turn = self.device_file.with_suffix(".lock").open("a")
        fcntl.flock(self._turn, fcntl.LOCK_EX)

    def on_train_epoch_end(self) -> None:
        self._turn.close()


class Greedy(Shared):
    """Needs the memory of the whole GPU."""

    def on_train_start(self) -> None:
        self._memory = self.device_file.with_suffix(".memory").open("a")
        try:
            fcntl.flock(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB.") from None
        super().on_train_start()

    def on_train_end(self) -> None:
        super().on_train_end()
        self._memory.close()


class Bulky(Line):
    """Runs out of memory with a batch of more samples than `most`; wide ones also in the batch that is tried before."""

    def __init__(self, folder: str, most: int, width: Annotated[int, Int(1, 8)] = 1) -> None:
        super().__init__()
        self.folder, self.most, self.width = Path(folder), most, width

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        is_tried = not Path(self.trainer.default_root_dir, "log.txt").exists()
        needed = len(batch[0]) * (self.width // 4 if is_tried else 1)
        if needed > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB.")
        if not is_tried:
            with (self.folder / "sizes.txt").open("a") as file:
                file.write(f"{len(batch[0])} {self.trainer.accumulate_grad_batches}\n")
        return super().training_step(batch, batch_idx)
