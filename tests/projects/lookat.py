"""Data modules for `hpo data describe` that do not depend on hpo: each with a problem to report."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset


class _Loaders(LightningDataModule):
    """Parts of a data set in memory."""

    parts: tuple[Dataset[Any], Dataset[Any]]
    collate: Any = None

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[0], 32, shuffle=True, collate_fn=self.collate)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[1], 32, collate_fn=self.collate)

    def test_dataloader(self) -> DataLoader[Any]:
        raise AssertionError("the test part is not to be touched")


class Leaky(_Loaders):
    """A table of everything that can be wrong: it asks its trainer, prints and warns."""

    feature_names = ("age", "US$ [income]", "stuck", "twin", "noise")

    def __init__(self, rows: int = 300, scaling: Literal["none", "thousandfold"] = "thousandfold") -> None:
        super().__init__()
        self.rows = rows
        self.scaling = scaling

    def setup(self, stage: str) -> None:
        assert stage == "fit"
        print("reading")
        warnings.warn("2 rows are without a value", stacklevel=2)
        x = torch.randn(self.rows, 5)
        y = (torch.rand(self.rows) < 0.07).long()
        x[:, 2], x[:, 3] = 7.0, y.float()
        x[0, 4] = torch.nan
        x[-10:], y[-10:] = x[10:20], y[10:20]
        cut = self.rows * 2 // 3
        x = x * 1000 if self.scaling == "thousandfold" else x
        self.parts = TensorDataset(x[:cut], y[:cut]), TensorDataset(x[cut:], y[cut:])

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        assert self.trainer.world_size == 1
        return super().train_dataloader()

    def describe(self) -> dict[str, Any]:
        return {"missing values": {"age": np.int64(3)}, "odd": np.array([1.5, np.nan])}


class Waves(_Loaders):
    """Sequences of any length, padded a batch at a time, as a dictionary."""

    def setup(self, stage: str) -> None:
        def wave(number: int) -> tuple[Tensor, int]:
            time = torch.arange(10 + number % 7) * (1 + number % 3)
            return torch.stack([torch.sin(time), torch.cos(time)], 1) + 0.5 * torch.randn(len(time), 2), number % 3

        self.parts = [wave(number) for number in range(90)], [wave(number) for number in range(90, 120)]  # type: ignore[assignment]
        self.collate = _padded


class Patches(_Loaders):
    """Colour images, not a class of which is named."""

    def setup(self, stage: str) -> None:
        x, y = torch.rand(60, 3, 12, 12), torch.arange(60) % 4
        self.parts = TensorDataset(x[:40], y[:40]), TensorDataset(x[40:], y[40:])


class Nameless(_Loaders):
    """More than is shown, and no targets."""

    def setup(self, stage: str) -> None:
        self.parts = TensorDataset(torch.randn(50, 40)), TensorDataset(torch.randn(50, 40))


class Bare(LightningDataModule):
    """Fails in its set-up."""

    def setup(self, stage: str) -> None:
        raise RuntimeError("the cupboard is bare")


class Wordy(LightningDataModule):
    """Has words in its batches."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(["a", "b"], 2)  # type: ignore[arg-type]  # it takes any sequence


class Quitting(LightningDataModule):
    """Ends the process."""

    def setup(self, stage: str) -> None:
        signal.raise_signal(signal.SIGKILL)


class Leaving(LightningDataModule):
    """Leaves as a script would."""

    def setup(self, stage: str) -> None:
        sys.exit("nothing here")


def _padded(batch: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    waves, labels = zip(*batch, strict=True)
    lengths = torch.tensor([len(wave) for wave in waves])
    return {"wave": pad_sequence(list(waves), batch_first=True), "steps": lengths, "label": torch.tensor(labels)}
