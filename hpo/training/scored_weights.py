"""The weights that a validation scored, where a callback or the module changes them before the epoch ends.

Averages of the weights, for instance, are swapped in before a validation and out after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytorch_lightning as pl
import torch
from torch import Tensor

from hpo.training.lean.hooks import is_overridden

# What runs between the last batch of a validation and the report of its epoch.
_HOOKS_OF_CALLBACKS = ("on_validation_epoch_end", "on_validation_end", "on_train_epoch_end")
_HOOKS_OF_MODULES = (*_HOOKS_OF_CALLBACKS, "on_validation_model_train")


class ScoredWeights(pl.Callback):
    """The first of a trial's callbacks: copies the weights at the end of a validation, before other callbacks act.

    It copies nothing where no hook may change the weights until the epoch is reported.
    """

    def __init__(self) -> None:
        self._scored: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._scored = {}
        if self._may_change(trainer, pl_module):
            self._scored = {name: tensor.detach().clone() for name, tensor in _tensors(pl_module).items()}

    @contextmanager
    def in_place(self, module: pl.LightningModule) -> Iterator[None]:
        """The module has its scored weights in this context, and afterwards its present ones again."""
        present = _tensors(module)
        changed = {
            name: tensor.detach().clone()
            for name, tensor in present.items()
            if name in self._scored
            and tensor.shape == self._scored[name].shape
            and not torch.equal(tensor, self._scored[name])
        }
        try:
            for name in changed:
                present[name].data.copy_(self._scored[name])
            yield
        finally:
            for name, tensor in changed.items():
                present[name].data.copy_(tensor)

    def release(self) -> None:
        """Free the copy's memory."""
        self._scored = {}

    def _may_change(self, trainer: pl.Trainer, module: pl.LightningModule) -> bool:
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [callback for callback in callbacks if not type(callback).__module__.startswith("hpo.training.")]
        return any(is_overridden(name, module, pl.LightningModule) for name in _HOOKS_OF_MODULES) or any(
            is_overridden(name, callback, pl.Callback) for callback in others for name in _HOOKS_OF_CALLBACKS
        )


def _tensors(module: pl.LightningModule) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))
