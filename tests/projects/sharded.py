"""Trains a model by FSDP in two processes, saves it, and resumes: `python -m projects.sharded RANK FOLDER`."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, nn
from torch.distributed import fsdp

from hpo.training.checkpoint import dump, write
from hpo.training.fsdp import PlainFSDPStrategy
from projects.nets import FEATURES, Batch, Points


class Wide(pl.LightningModule):
    """A small network with an optimizer that has a state."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, 1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class OnCPU(fsdp.FullyShardedDataParallel):
    """On the CPU, where torch has it only by name, and with whole weights: it crashes when it gathers shares."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"device_id": torch.device("cpu")})


class Save(pl.Callback):
    """Writes a checkpoint after each epoch, and gathers the weights at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.weights: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        write(trainer, dump(trainer, weights_only=False).values, self._path)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        state = trainer.strategy.lightning_module_state_dict()
        self.weights = {key: tensor.tolist() for key, tensor in state.items()}


def train(epochs: int, path: Path, **options: Any) -> dict[str, Any]:
    """The weights after so many epochs, of which the last is saved."""
    pl.seed_everything(0, verbose=False)
    save, strategy = Save(path), PlainFSDPStrategy(sharding_strategy="NO_SHARD")
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=strategy, plugins=[TorchElasticEnvironment()],
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[save],
        enable_model_summary=False, limit_val_batches=0, default_root_dir=path.parent,
    )  # fmt: skip
    trainer.fit(Wide(), datamodule=Points(samples=32), weights_only=True, **options)
    return save.weights


def main(rank: int, folder: Path) -> None:
    """Train three epochs at once, and two epochs and one more: the weights of both, of rank 0, into a file."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ["TORCHELASTIC_RUN_ID"] = "sharded"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    fsdp.FullyShardedDataParallel = OnCPU  # type: ignore[misc]
    whole = train(3, folder / "whole.ckpt")
    train(2, folder / "two.ckpt")
    resumed = train(3, folder / "resumed.ckpt", ckpt_path=str(folder / "two.ckpt"))
    if rank == 0:
        (folder / "weights.json").write_text(json.dumps({"whole": whole, "resumed": resumed}), encoding="utf-8")


if __name__ == "__main__":
    faulthandler.enable()
    main(int(sys.argv[1]), Path(sys.argv[2]))
