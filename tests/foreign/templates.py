"""Modules as templates and tutorials write them: configurations, nested networks, free keywords, own loaders."""

from argparse import Namespace
from dataclasses import dataclass, field
from itertools import pairwise

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def circle(rows, seed):
    points = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(points, (points.norm(dim=1) > 1.1).long())


class Circle(pl.LightningDataModule):
    def __init__(self, batch_size=16, rows=64):
        super().__init__()
        self.batch_size, self.rows = batch_size, rows

    def train_dataloader(self):
        return DataLoader(circle(self.rows, 0), self.batch_size)

    def val_dataloader(self):
        return DataLoader(circle(32, 1), 32)


class Learner(pl.LightningModule):
    """What the others share; `net` takes points of the plane."""

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def layers_of(hidden):
    sizes = [2, *hidden]
    pairs = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*pairs, nn.Linear(sizes[-1], 2))


class Lists(Learner):
    """A list, a tuple and a mapping."""

    def __init__(self, hidden=[8], sizes: tuple[int, ...] = (1,), optim={"name": "SGD", "lr": 0.1}):  # noqa: B006
        super().__init__()
        assert type(hidden) is list, hidden
        assert type(sizes) is tuple, sizes
        self.net, self.optim = layers_of(hidden), optim

    def configure_optimizers(self):
        return getattr(torch.optim, self.optim["name"])(self.parameters(), lr=self.optim["lr"])


@dataclass(frozen=True)
class Schedule:
    gamma: float = 0.9


@dataclass
class Config:
    hidden: int = 8
    lr: float = 0.05
    act: str = "relu"
    schedule: Schedule = field(default_factory=Schedule)


class Configured(Learner):
    def __init__(self, config: Config = Config(hidden=6, act="gelu")):  # noqa: B008
        super().__init__()
        assert type(config) is Config
        assert type(config.schedule) is Schedule
        self.config = config
        act = {"relu": nn.ReLU, "gelu": nn.GELU}[config.act]
        self.net = nn.Sequential(nn.Linear(2, config.hidden), act(), nn.Linear(config.hidden, 2))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.config.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, self.config.schedule.gamma)]


class OldStyle(Learner):
    def __init__(self, hparams: Namespace = Namespace(hidden=4, lr=0.1)):  # noqa: B008
        super().__init__()
        assert type(hparams) is Namespace
        self.net, self.rate = layers_of([hparams.hidden]), hparams.lr


class Net(nn.Module):
    def __init__(self, width: int = 8, head: nn.Module | None = None):
        super().__init__()
        self.body, self.head = nn.Linear(2, width), head or nn.Linear(width, 2)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Head(nn.Module):
    def __init__(self, inputs, bias=True):
        super().__init__()
        self.linear = nn.Linear(inputs, 2, bias=bias)

    def forward(self, x):
        return self.linear(x)


class Nested(Learner):
    """lightning-hydra-template."""

    def __init__(self, net: nn.Module, losses: list[nn.Module] | None = None):
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["net", "losses"])
        assert isinstance(net, nn.Module)
        assert all(isinstance(loss, nn.Module) for loss in losses or [])
        self.net = net


class Keywords(Learner):
    def __init__(self, **kwargs):
        super().__init__()
        self.save_hyperparameters()
        self.net = layers_of([self.hparams.get("hidden", 4)])


class OwnLoaders(Learner):
    def __init__(self, hidden=4, batch_size=16):
        super().__init__()
        self.net, self.batch_size = layers_of([hidden]), batch_size

    def train_dataloader(self):
        return DataLoader(circle(64, 0), self.batch_size)

    def val_dataloader(self):
        return DataLoader(circle(32, 1), 32)


class CountSteps(pl.Callback):
    """Logs how many batches, steps and validations there were."""

    def __init__(self, prefix="seen"):
        self.prefix, self.batches, self.validations = prefix, 0, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches += 1

    def on_validation_start(self, trainer, pl_module):
        self.validations += 1

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log(f"{self.prefix}_batches", float(self.batches))
        pl_module.log(f"{self.prefix}_steps", float(trainer.global_step))
        pl_module.log(f"{self.prefix}_validations", float(self.validations))
