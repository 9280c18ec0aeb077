"""The data of `benchmarks/search.py` as tensors, for the tools that use PyTorch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

FASHION = Path("/usr/share/datasets/fashion-mnist")

Arrays = tuple[Tensor, Tensor, Tensor, Tensor]


def arrays(protocol: str) -> Arrays:
    """(training inputs, training classes, validation inputs, validation classes), the same as of our data modules."""
    from models.data import Images, Table

    if protocol == "tabular":
        data = Table(source="breast_cancer", scaling="standard", missing="median", categories="one_hot")
    else:
        data = Images(  # type: ignore[assignment]
            source=str(FASHION),
            scaling="standard",
            split="order",
            train_samples=10_000,
            validation_samples=2_000,
            flip="none",
        )
    data.prepare_data()
    data.setup("fit")
    train = data.train_dataloader()
    # From evaluation batches: in order, each sample once, as floats.
    train.training = False
    parts = [list(train), list(data.val_dataloader())]
    return cast(Arrays, tuple(torch.cat(tensors) for part in parts for tensors in zip(*part, strict=True)))


def loaders(of: Arrays, batch_size: int) -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    train, validation = TensorDataset(*of[:2]), TensorDataset(*of[2:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(validation, batch_size)
