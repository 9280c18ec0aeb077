"""A line through random points: a model and its data, for tests that need training but not learning."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from hpo.space import Choice, Float

Batch = tuple[Tensor, Tensor]
FEATURES = 4


class Points(LightningDataModule):
    """Random points of a plane with noise; (batch, FEATURES) and (batch, 1)."""

    def __init__(self, batch_size: int = 8, samples: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.samples = samples

    def setup(self, stage: str) -> None:
        x = torch.randn(self.samples, FEATURES)
        self._points = TensorDataset(x, x.sum(dim=1, keepdim=True) + 0.1 * torch.randn(self.samples, 1))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, self.batch_size)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, self.batch_size)


class Line(LightningModule):
    """Logs `val_loss`; a training epoch lasts for `seconds`, the default does not."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2, seconds: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.seconds = seconds
        self.layer = nn.Linear(FEATURES, 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if batch_idx == 0:
            time.sleep(self.seconds)
        return self._loss(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def _loss(self, batch: Batch) -> Tensor:
        x, y = batch
        loss: Tensor = nn.functional.mse_loss(self.layer(x), y)
        return loss


class Telling(Line):
    """Prints each epoch that it trains."""

    def on_train_epoch_end(self) -> None:
        print(f"trained epoch {self.current_epoch + 1}")


class Loaded(Points):
    """Its training batches come from a process of the loader."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, self.batch_size, num_workers=1, persistent_workers=True)


class Stream(Points):
    """Its training data has no length."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(Samples(self._points), self.batch_size)


class Samples(IterableDataset[tuple[Tensor, ...]]):
    """The samples of another data set, one after the other."""

    def __init__(self, samples: TensorDataset) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (self._samples[number] for number in range(len(self._samples)))


class OwnBatches(Points):
    """Gives the batches of a sampler that is not torch's own."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._points, batch_sampler=Pairs(len(self._points)))


class Pairs:
    """Batches of two neighbours."""

    def __init__(self, samples: int) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[list[int]]:
        return ([first, first + 1] for first in range(0, self._samples - 1, 2))

    def __len__(self) -> int:
        return self._samples // 2


class Misnamed(Line):
    """Its own callback asks at the end of an epoch, after every report of it, for a metric that it never logs."""

    def configure_callbacks(self) -> list[Callback]:
        return [ModelCheckpoint(monitor="val_accuracy")]


class Saving(Line):
    """Its own callback keeps a checkpoint of each epoch."""

    def configure_callbacks(self) -> list[Callback]:
        return [ModelCheckpoint(save_top_k=-1)]


class Unused(Line):
    """Has a layer that the loss does not depend on."""

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.other = nn.Linear(FEATURES, 1)


class SlowToEnd(Line):
    """Its first rank ends seconds after the others."""

    def teardown(self, stage: str) -> None:
        if self.global_rank == 0:
            time.sleep(2)


class Slow(Line):
    """Takes a fifth of a second for each step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        time.sleep(0.2)
        return self._loss(batch)


class Valley(Line):
    """Best after its third epoch: `val_loss` is the distance from it; `trained` counts the weights' epochs."""

    trained: Tensor

    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2, seconds: float = 0.0) -> None:
        super().__init__(lr=lr, seconds=seconds)
        self.register_buffer("trained", torch.zeros(()))

    def on_train_epoch_start(self) -> None:
        self.trained += 1

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", (self.trained - 3).abs())


class EverySecond(Line):
    """Logs `val_loss` in every second epoch, and `val_error` in each."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_error", self._loss(batch))
        if self.current_epoch % 2 == 1:
            self.log("val_loss", self._loss(batch))


class Gated(Line):
    """Trains for an epoch, and goes on as soon as the file `gate` is there: for tests of what is done meanwhile."""

    def __init__(self, gate: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.save_hyperparameters()
        self._gate = Path(gate)

    def on_train_epoch_start(self) -> None:
        while self.current_epoch > 0 and not self._gate.exists():
            time.sleep(0.05)


class Silent(Line):
    """Logs nothing."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._loss(batch)


class Lost(Line):
    """Logs a loss that is no number."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(float("nan")))


class Sometimes(Line):
    """Fine for an epoch, and then, by the parameter, not at all."""

    def __init__(
        self,
        does: Annotated[Literal["learn", "raise", "nan", "killed", "exit", "memory", "learn on"], Choice()] = "learn",
        lr: float = 1e-2,
    ) -> None:
        super().__init__(lr=lr)
        self.does = does

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 0:
            return
        match self.does:
            case "raise":
                raise RuntimeError("the second epoch is too much")
            case "killed":
                helper = subprocess.Popen(["sleep", "600"])  # as a loader's worker, or a compiler
                print(f"helper {helper.pid}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "memory":
                raise MemoryError

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        is_lost = self.does == "nan" and self.current_epoch > 0
        self.log("val_loss", torch.tensor(float("nan")) if is_lost else self._loss(batch))


Leftover = Literal[
    "nothing", "environment", "thread", "child", "dtype", "filter", "global", "list", "attribute", "memory", "tf32"
]
LEFT = 0
ALL_LEFT: list[int] = []


class Leaver(Line):
    """Learns, says in which process it does, and leaves something behind there, by the parameter."""

    left = 0
    hidden = SimpleNamespace(kept=[])

    def __init__(
        self,
        leaves: Annotated[Leftover, Choice()] = "nothing",
        lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2,
    ) -> None:
        super().__init__(lr=lr)
        self.leaves = leaves
        self.dropout = nn.Dropout(0.5)

    def on_train_start(self) -> None:
        print(f"process {os.getpid()}", flush=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        return self._loss((self.dropout(x), y))

    def on_train_end(self) -> None:
        match self.leaves:
            case "environment":
                os.environ["LEFT"] = "1"
            case "thread":
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            case "child":
                subprocess.Popen(["sleep", "600"])
            case "dtype":
                torch.set_default_dtype(torch.float64)
            case "filter":
                warnings.simplefilter("ignore")
            case "global":
                global LEFT
                LEFT += 1
            case "list":
                ALL_LEFT.append(1)
            case "attribute":
                Leaver.left += 1
            case "tf32":  # in torch's newer way, after which its older one refuses to tell
                torch.backends.cuda.matmul.fp32_precision = "tf32"
            case "memory":
                self.hidden.kept.append(b"x" * (300 << 20))
