"""Trains a model whose weights two processes share, saves it, and resumes: `python -m projects.sharded RANK FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, nn

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


def train(epochs: int, folder: Path, **options: Any) -> pl.Trainer:
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=PlainFSDPStrategy(), plugins=[TorchElasticEnvironment()],
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Wide(), datamodule=Points(samples=32), weights_only=True, **options)
    return trainer


def main(rank: int, folder: Path) -> None:
    """Train three epochs at once, and two epochs and one more: the weights of both, at rank 0, into a file."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ["TORCHELASTIC_RUN_ID"] = "sharded"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    weights = {}
    for name, first in (("whole", 3), ("resumed", 2)):
        trainer = train(first, folder)
        path = folder / f"{name}.ckpt"
        write(trainer, dump(trainer, weights_only=False).values, path)
        if first < 3:
            trainer = train(3, folder, ckpt_path=str(path))
        state = trainer.strategy.lightning_module_state_dict()
        weights[name] = {key: tensor.tolist() for key, tensor in state.items()}
    if rank == 0:
        (folder / "weights.json").write_text(json.dumps(weights), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
