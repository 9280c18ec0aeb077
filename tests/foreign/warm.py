"""A third-party model that can start from weights, and does not depend on this project."""

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Blobs(LightningDataModule):
    def __init__(self, batch_size=16, samples=64):
        super().__init__()
        self.batch_size = batch_size
        self.samples = samples

    def setup(self, stage=None):
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(self.samples) % 2
        x = torch.randn(self.samples, 3, generator=generator) + y[:, None]
        self.samples_and_classes = TensorDataset(x, y)

    def train_dataloader(self):
        return DataLoader(self.samples_and_classes, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.samples_and_classes, self.batch_size)


class Warm(LightningModule):
    """Logs how far its weights are from those in the checkpoint that it started from."""

    def __init__(self, lr=0.1, start="", hidden=None):
        super().__init__()
        hidden = hidden or 4
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        if start:
            self.load_state_dict(torch.load(start, weights_only=True)["state_dict"])
        self.first = nn.utils.parameters_to_vector(self.parameters()).detach().clone()

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))
        self.log("checksum", self.first.double().sum().float())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
