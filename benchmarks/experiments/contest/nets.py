"""The networks of `benchmarks/search.py`, the same for every tool, which record the events of their training.

Each line of the file CONTEST_EVENTS is an epoch: its end, in seconds since 1970, and its accuracy.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.space import Choice, Float, Int, When

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}
HAVE_FUSED = ("adam", "adagrad", "sgd")
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
INITIALIZERS: dict[str, Any] = {
    "glorot": nn.init.xavier_uniform_,
    "he": nn.init.kaiming_normal_,
    "normal": partial(nn.init.normal_, std=0.02),
    "orthogonal": nn.init.orthogonal_,
}

Optimizer = Annotated[Literal["adam", "rmsprop", "adagrad", "sgd"], Choice()]
Activation = Annotated[Literal["relu", "tanh", "elu", "leaky_relu"], Choice()]
Initializer = Annotated[Literal["glorot", "he", "normal", "orthogonal"], Choice()]


class Net(pl.LightningModule):
    """A classifier that is trained as in a tutorial.

    Args:
        fused: as in this project's models: fused optimizers, or foreach where PyTorch has none, images with channels
            last, and activations after pooling.
    """

    def __init__(self, lr: float, optimizer: str, *, fused: bool) -> None:
        super().__init__()
        self._lr, self._optimizer = lr, optimizer
        self._options: dict[str, Any] = {("fused" if optimizer in HAVE_FUSED else "foreach"): True} if fused else {}
        self._right, self._seen = torch.zeros(()), 0

    def initialize(self, initializer: str) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                INITIALIZERS[initializer](module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        inputs, targets = batch
        if index == 0 and self.current_epoch == 0 and not self._is_only_tried():
            record(event="step")
        return functional.cross_entropy(self(inputs), targets)

    def on_validation_epoch_start(self) -> None:
        self._right, self._seen = torch.zeros((), device=self.device), 0

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        inputs, targets = batch
        right = (self(inputs).argmax(1) == targets).sum()
        self._right, self._seen = self._right + right, self._seen + len(targets)
        self.log("val_accuracy", right / len(targets), batch_size=len(targets))

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking and not self._is_only_tried():
            record(event="epoch", accuracy=float(self._right) / self._seen)

    def _is_only_tried(self) -> bool:
        """Whether this is the batch that `hpo run` tries before its first trial, and no part of a trial."""
        return isinstance(self.trainer.limit_val_batches, int)  # else all, as 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return OPTIMIZERS[self._optimizer](self.parameters(), lr=self._lr, **self._options)  # type: ignore[call-arg]


class FashionNet(Net):
    """A perceptron or a small convolutional network for 28 x 28 images of ten classes."""

    def __init__(
        self,
        arch: Annotated[Literal["mlp", "cnn"], Choice()] = "mlp",
        layers: Annotated[int, Int(1, 3), When(arch="mlp")] = 2,
        units_1: Annotated[int, Int(16, 256, log=True), When(arch="mlp")] = 128,
        units_2: Annotated[int, Int(16, 256, log=True), When(layers=(2, 3))] = 64,
        units_3: Annotated[int, Int(16, 256, log=True), When(layers=3)] = 64,
        blocks: Annotated[Literal[1, 2], Choice(), When(arch="cnn")] = 2,
        channels_1: Annotated[Literal[8, 16, 32], Choice(), When(arch="cnn")] = 16,
        channels_2: Annotated[Literal[8, 16, 32], Choice(), When(blocks=2)] = 32,
        head: Annotated[Literal[32, 64, 128], Choice(), When(arch="cnn")] = 64,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.2,
        activation: Activation = "relu",
        initializer: Initializer = "he",
        lr: Annotated[float, Float(1e-5, 1e-1, log=True)] = 1e-3,
        optimizer: Optimizer = "adam",
        fused: bool = False,
    ) -> None:
        super().__init__(lr, optimizer, fused=fused)
        act = ACTIVATIONS[activation]
        parts: list[nn.Module] = []
        if arch == "mlp":
            width = 784
            parts.append(nn.Flatten())
            for units in (units_1, units_2, units_3)[:layers]:
                parts += [nn.Linear(width, units), act(), nn.Dropout(dropout)]
                width = units
        else:
            channels, side = 1, 28
            for number in (channels_1, channels_2)[:blocks]:
                # All four activations are monotonic, so either order gives the same values.
                after = [nn.MaxPool2d(2), act()] if fused else [act(), nn.MaxPool2d(2)]
                parts += [nn.Conv2d(channels, number, 3, padding=1), *after]
                channels, side = number, side // 2
            parts += [nn.Flatten(), nn.Linear(channels * side**2, head), act(), nn.Dropout(dropout)]
            width = head
        self.network = nn.Sequential(*parts, nn.Linear(width, 10))
        self.initialize(initializer)
        if fused:
            self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)  # type: ignore[no-any-return]


class TabularNet(Net):
    """A perceptron for a table's rows.

    Args:
        in_features: columns of the input.
    """

    def __init__(
        self,
        in_features: int = 30,
        layers: Annotated[int, Int(1, 3)] = 2,
        units: Annotated[int, Int(8, 64, log=True)] = 32,
        normalization: Annotated[Literal["none", "batch", "layer"], Choice()] = "none",
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.2,
        activation: Activation = "relu",
        initializer: Initializer = "he",
        lr: Annotated[float, Float(1e-4, 1e-1, log=True)] = 1e-3,
        optimizer: Optimizer = "adam",
        fused: bool = False,
    ) -> None:
        super().__init__(lr, optimizer, fused=fused)
        norms = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        parts: list[nn.Module] = []
        width = in_features
        for _ in range(layers):
            parts += [
                nn.Linear(width, units),
                norms[normalization](units),
                ACTIVATIONS[activation](),
                nn.Dropout(dropout),
            ]
            width = units
        self.network = nn.Sequential(*parts, nn.Linear(width, 2))
        self.initialize(initializer)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)  # type: ignore[no-any-return]


def record(**what: Any) -> None:
    # One write of a short line to a file that is open for appending: lines of several processes are not mixed.
    with open(os.environ["CONTEST_EVENTS"], "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(json.dumps({"at": time.time(), **what}) + "\n")
