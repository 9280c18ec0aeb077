"""Modules as users have them: hooks overridden freely, callbacks, loggers' keys and schedules of their own."""

import pytorch_lightning as pl
import torch
from layers import block
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rings(Dataset):
    """Points in the plane, labelled by their distance from the middle."""

    def __init__(self, length, seed):
        generator = torch.Generator().manual_seed(seed)
        self.points = torch.randn(length, 2, generator=generator)
        self.labels = (self.points.norm(dim=1) > 1.1).long()

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return {"x": self.points[index], "y": self.labels[index]}


class RingsData(pl.LightningDataModule):
    def __init__(self, batch_size=32, num_workers=0, length=128):
        super().__init__()
        self.save_hyperparameters()

    def prepare_data(self):
        self.is_prepared = True

    def setup(self, stage=None):
        assert self.is_prepared
        self.train_set, self.val_set = Rings(self.hparams.length, 0), Rings(64, 1)

    def train_dataloader(self):
        workers = self.hparams.num_workers
        return DataLoader(
            self.train_set,
            batch_size=self.hparams.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last=True,
        )

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=64, num_workers=self.hparams.num_workers)


class CountEpochs(pl.Callback):
    """Logs a metric of its own and ends the training early."""

    def __init__(self, most):
        self.most = most
        self.epochs = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1
        pl_module.log("epochs_counted", float(self.epochs))
        if self.epochs >= self.most:
            trainer.should_stop = True


class Hooked(pl.LightningModule):
    """Automatic optimisation, with every hook that comes to mind overridden."""

    def __init__(self, hidden=16, lr=0.01, dropout=0.0, schedule="plateau", most_epochs=100):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(block(2, hidden, dropout), nn.Linear(hidden, 2))
        self.example_input_array = torch.zeros(1, 2)
        self.val_outputs = []
        self.plateau_steps = 0

    def forward(self, x):
        return self.net(x)

    def configure_callbacks(self):
        return [
            CountEpochs(self.hparams.most_epochs),
            pl.callbacks.ModelCheckpoint(every_n_train_steps=1),
            pl.callbacks.EarlyStopping(monitor="val_loss", patience=50),
            pl.callbacks.LearningRateMonitor() if self.trainer.logger else pl.callbacks.Timer(),
        ]

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        if self.hparams.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return [optimizer], [{"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"}]
        steps = self.trainer.estimated_stepping_batches
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step", "name": "cycle"}}

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return {name: value.to(device) for name, value in batch.items()}

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch["x"] * 2, batch["y"]

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"train_acc": (logits.argmax(1) == y).float().mean()}, on_step=True, on_epoch=False)
        return {"loss": loss, "logits": logits.detach()}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        assert "logits" in outputs

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_outputs.append((logits, y))
        self.log("val_loss", nn.functional.cross_entropy(logits, y), on_step=True, on_epoch=True)

    def on_validation_epoch_end(self):
        logits, y = (torch.cat(part) for part in zip(*self.val_outputs, strict=True))
        self.val_outputs.clear()
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def lr_scheduler_step(self, scheduler, metric):
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)
            self.plateau_steps += 1

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)

    def backward(self, loss):
        loss.backward(retain_graph=False)

    def on_before_optimizer_step(self, optimizer):
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["of_its_own"] = {"plateau_steps": self.plateau_steps}


class TwoPlayers(pl.LightningModule):
    """Manual optimisation with two optimizers, each with a schedule: a classifier, and its adversary."""

    def __init__(self, width=8, lr=0.05, lr_adversary=0.01, strength=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.classifier = nn.Sequential(block(2, width, 0.0), nn.Linear(width, 2))
        self.adversary = nn.Sequential(nn.Linear(2, 2), nn.Tanh())

    def configure_optimizers(self):
        first = torch.optim.Adam(self.classifier.parameters(), lr=self.hparams.lr)
        second = torch.optim.SGD(self.adversary.parameters(), lr=self.hparams.lr_adversary)
        schedules = [
            torch.optim.lr_scheduler.ExponentialLR(first, 0.99),
            torch.optim.lr_scheduler.ReduceLROnPlateau(second, patience=1),
        ]
        return [first, second], schedules

    def losses(self, batch):
        shifted = batch["x"] + self.hparams.strength * self.adversary(batch["x"])
        return nn.functional.cross_entropy(self.classifier(shifted), batch["y"])

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        self.toggle_optimizer(first)
        loss = self.losses(batch)
        first.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(first, gradient_clip_val=1.0, gradient_clip_algorithm="norm")
        first.step()
        self.untoggle_optimizer(first)
        self.toggle_optimizer(second)
        second.zero_grad()
        self.manual_backward(-self.losses(batch))
        second.step()
        self.untoggle_optimizer(second)
        self.lr_schedulers()[0].step()
        self.log("loss", loss, on_step=True, on_epoch=True)

    def on_train_epoch_end(self):
        self.lr_schedulers()[1].step(self.trainer.callback_metrics["loss_epoch"])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.losses(batch), batch_size=len(batch["y"]))
