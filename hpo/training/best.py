"""The weights after a trial's best epoch, written to disk when they may be needed, not after each improvement."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from hpo.study.job import PREPROCESSING
from hpo.training.checkpoint import CheckpointContents, dump, write
from hpo.training.prediction.state_file import state_of, write_state
from hpo.training.scored_weights import ScoredWeights

MOST_HELD_BYTES = 64 << 20


class Best:
    """Holds a copy of the best weights in memory, if it is small, until it is written.

    A pruned trial never needs them, and a trial that resumes from a checkpoint needs only the weights before it.

    Args:
        given: arguments of the model that the data module gave, to be written beside the weights.
    """

    def __init__(self, path: Path, scored: ScoredWeights, given: Mapping[str, Any]) -> None:
        self._path = path
        self._scored = scored
        self._given = given
        self._held: dict[str, Any] | None = None
        self._is_preprocessing_kept = False  # in this attempt

    def take(self, trainer: pl.Trainer) -> CheckpointContents:
        """Replace the best weights and hyperparameters by those of the last validation; all ranks call this.

        Raises:
            OSError: they are too large to be held, and cannot be written.
        """
        self._held = None
        with self._scored.in_place(trainer.lightning_module):
            checkpoint = dump(trainer, weights_only=True, given=self._given)
            if trainer.world_size > 1 or _bytes_of(trainer.lightning_module) > MOST_HELD_BYTES:
                partial = self._path.with_suffix(".partial")
                write(trainer, checkpoint.values, partial)
                self._keep_preprocessing(trainer)
                if trainer.is_global_zero:
                    partial.replace(self._path)
            else:
                self._held = copy.deepcopy(checkpoint.values)
        return checkpoint

    def write(self, trainer: pl.Trainer) -> None:
        """Write the held copy; a reader never sees a partial file.

        Raises:
            OSError: the disk is full, or the folder cannot be written; the copy is still held.
        """
        if self._held is None:
            return
        partial = self._path.with_suffix(".partial")
        write(trainer, self._held, partial)
        self._keep_preprocessing(trainer)
        partial.replace(self._path)
        self._held = None

    def _keep_preprocessing(self, trainer: pl.Trainer) -> None:
        """Write what the data module has fitted, once an attempt: an earlier one may have had other data.

        Raises:
            OSError: the disk is full, or the folder cannot be written; not with several ranks, as the others would wait
                for the one that writes.
        """
        if self._is_preprocessing_kept or not trainer.is_global_zero:
            return
        try:
            contents = state_of(trainer.datamodule)  # type: ignore[attr-defined]
        except Exception as error:  # of the user's code
            contents = None
            print(f"preprocessing: not kept: {type(error).__name__}: {error}")  # noqa: T201 # into the log
        try:
            if contents is not None:
                write_state(contents, self._path.with_name(PREPROCESSING))
        except OSError as error:
            if trainer.world_size == 1:
                raise
            print(f"preprocessing: not kept: {error}")  # noqa: T201 # into the log
        else:
            self._is_preprocessing_kept = True


def _bytes_of(module: torch.nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
