"""What is in a trial's checkpoint: Lightning's, in values that are read without running code, and what was left out."""

from __future__ import annotations

import contextlib
import errno
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.strategies import Strategy

from hpo.training.lean.hooks import is_overridden
from hpo.training.plain_values import LeftOut, restore, to_plain
from hpo.training.preparation import preparation_of

RECORD = "hpo_service"
"""Our key in a checkpoint: the model's arguments that the data module gave, what converted its batches, twins, and what
was left out."""

_OF_LIGHTNING = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
# Lightning resumes without them, and `load_model` has the arguments from elsewhere.
_HYPERPARAMETERS = tuple(
    key
    for owner in (LightningModule, LightningDataModule)
    for key in (owner.CHECKPOINT_HYPER_PARAMS_KEY, owner.CHECKPOINT_HYPER_PARAMS_TYPE)
)


@dataclass(frozen=True)
class CheckpointContents:
    """A checkpoint that is to be written.

    Attributes:
        values: by key.
        needed: values that are not in it, and without which it does not continue the training, or rebuild the model.
        spare: values that are not in it, and that nothing reads back.
    """

    values: dict[str, Any]
    needed: list[LeftOut]
    spare: list[LeftOut]


def dump(trainer: pl.Trainer, *, weights_only: bool, given: Mapping[str, Any] | None = None) -> CheckpointContents:
    """The contents that `trainer.save_checkpoint` would write, in plain values; all ranks call this together.

    Args:
        given: arguments of the model that the data module gave.
    """
    contents = trainer._checkpoint_connector.dump_checkpoint(weights_only=weights_only)
    contents[RECORD] = {"given": dict(given or {}), "given_names": list(given or {})}
    contents[RECORD]["preparation"] = preparation_of(trainer.datamodule)  # type: ignore[attr-defined]
    plain = to_plain(contents)
    needed = [left_out for left_out in plain.left_out if _is_needed(left_out, trainer)]
    plain.value[RECORD] |= {
        "twins": plain.twins,
        "left_out": [str(left_out) for left_out in plain.left_out],
        "needed": [str(left_out) for left_out in needed],
    }
    spare = [left_out for left_out in plain.left_out if left_out not in needed and left_out.place[0] != RECORD]
    return CheckpointContents(plain.value, needed, spare)


def write(trainer: pl.Trainer, contents: dict[str, Any], path: Path) -> None:
    """Write a checkpoint's contents into an existing folder; all ranks call this together.

    Raises:
        OSError: the disk is full, or the folder cannot be written; on all ranks, since none may wait for the others.
    """
    failed: OSError | None = None
    try:
        _save(trainer, contents, path)
    except OSError as error:
        failed = error
    # Also the barrier that Lightning has here.
    if not trainer.strategy.reduce_boolean_decision(failed is None):
        raise failed or UnwrittenByAnotherError(path)


def _save(trainer: pl.Trainer, contents: dict[str, Any], path: Path) -> None:
    """Write the file directly, in place of Lightning's way by a temporary file of another folder, and another disk.

    Lightning would also make the folder anew that was deleted with its study, and leave its temporary file in /tmp when
    the file cannot be moved from there.
    """
    if type(trainer.strategy).save_checkpoint is not Strategy.save_checkpoint:  # a sharded model's
        trainer.strategy.save_checkpoint(contents, path)
    elif trainer.is_global_zero:
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder was removed", str(path.parent))
        buffer = io.BytesIO()
        torch.save(contents, buffer)
        try:
            with path.open("wb") as file:
                file.write(buffer.getbuffer())
        except OSError:
            with contextlib.suppress(OSError):  # the half of it would keep the disk full
                path.unlink(missing_ok=True)
            raise


def read(path: str | Path, *, mmap: bool = False) -> dict[str, Any]:
    """The contents of a checkpoint on the CPU, with the original types in place of their twins.

    Args:
        mmap: read the tensors when they are used.

    Raises:
        OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError: it cannot be read.
    """
    # weights_only: a checkpoint is data, and reading it must not run code
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except struct.error as error:  # of bytes that torch takes for a file in its oldest format
        raise ValueError("it is not a checkpoint") from error
    if not isinstance(contents, dict):
        raise ValueError("it is not a checkpoint")
    return _restored(contents)


def needed_but_left_out(contents: Mapping[str, Any]) -> list[str]:
    """The values without which the checkpoint does not continue its training: their places and types."""
    needed: list[str] = contents.get(RECORD, {}).get("needed", [])
    return needed


class UnwrittenByAnotherError(OSError):
    """Another process of the trial could not write the checkpoint, and says why."""


class RestoringCheckpointIO(TorchCheckpointIO):
    """Gives Lightning the checkpoint that it resumes from with the original types in place of their twins."""

    def load_checkpoint(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        return _restored(super().load_checkpoint(*arguments, **named))


def _restored(contents: dict[str, Any]) -> dict[str, Any]:
    restored: dict[str, Any] = restore(contents, contents.get(RECORD, {}).get("twins", []))
    return restored


def _is_needed(left_out: LeftOut, trainer: pl.Trainer) -> bool:
    top = left_out.place[0]
    if top in _HYPERPARAMETERS or top == RECORD:
        return False
    if top == "lr_schedulers":  # a schedule keeps the functions that it was made with
        return not left_out.is_code
    data = trainer.datamodule  # type: ignore[attr-defined]
    if top in (*_OF_LIGHTNING, type(trainer.precision_plugin).__qualname__, type(data).__qualname__):
        return True
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return is_overridden("on_load_checkpoint", trainer.lightning_module, LightningModule) or any(
        is_overridden("on_load_checkpoint", callback, pl.Callback) for callback in callbacks
    )
