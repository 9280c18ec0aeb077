"""The Python of docs/checkpoints.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hpo.training.checkpoint import dump, read, write

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")


class Scaled(pl.LightningModule):
    """Has a scaler as scikit-learn's, and the hooks of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.scaler = SimpleNamespace(mean_=np.zeros(2), scale_=np.zeros(2))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_hooks_of_the_page_keep_a_scaler(tmp_path: Path) -> None:
    [hooks] = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    defined: dict[str, Any] = {}
    exec(hooks, defined)
    named = {name: defined[name] for name in ("on_save_checkpoint", "on_load_checkpoint")}
    module_class = type("Hooked", (Scaled,), named)
    fitted = module_class()
    fitted.scaler = SimpleNamespace(mean_=np.array([1.0, 2.0]), scale_=np.array([3.0, 4.0]))
    trainer = pl.Trainer(accelerator="cpu", max_epochs=0, logger=False, enable_checkpointing=False)
    trainer.fit(fitted, DataLoader(TensorDataset(torch.ones(1, 1))))

    checkpoint = dump(trainer, weights_only=True)
    write(trainer, checkpoint.values, tmp_path / "best.ckpt")
    again = module_class()
    again.on_load_checkpoint(read(tmp_path / "best.ckpt"))

    assert (checkpoint.needed, checkpoint.spare) == ([], [])
    assert (again.scaler.mean_.tolist(), again.scaler.scale_.tolist()) == ([1.0, 2.0], [3.0, 4.0])
