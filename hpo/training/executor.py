"""Chooses the loop that trains a trial: the lean one wherever it gives the same result, else Lightning's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytorch_lightning as pl

from hpo.errors import ExecutorError
from hpo.training.lean.epoch import LeanEpochLoop
from hpo.training.lean.graphed import GraphedSteps
from hpo.training.lean.support import obstacle

log = logging.getLogger(__name__)

Request = Literal["auto", "lean", "lightning"]


@dataclass(frozen=True)
class Executor:
    """The loop that trains a trial.

    Attributes:
        reason: why it is not the lean one, as a text that follows 'because'; empty for the lean one.
        is_required: the study requires this one.
    """

    name: Literal["lean", "lightning"]
    reason: str = ""
    is_required: bool = False

    def __str__(self) -> str:
        return f"{self.name}, because {self.reason}" if self.reason else self.name


def choose_executor(request: Request, model: pl.LightningModule, *, ranks: int = 1) -> Executor:
    """The executor for a module.

    Raises:
        ExecutorError: the lean one is required, and cannot train the module.
    """
    if request == "lightning":
        return Executor("lightning", "the study asks for it", is_required=True)
    reason = obstacle(model, ranks=ranks)
    if reason is None:
        return Executor("lean", is_required=request == "lean")
    if request == "lean":
        raise refusal(reason)
    return Executor("lightning", reason)


def use(
    executor: Executor,
    trainer: pl.Trainer,
    warn: Callable[[str], None],
    note: Callable[[str], None] = log.info,
    *,
    cuda_graphs: bool = False,
) -> None:
    """Install the executor in the Trainer.

    Args:
        warn: called when a lean training continues in Lightning's loop, because of something that its module did in
            its set-up or while it trained.
        note: called with whether steps are replayed as a graph, or why they are not, where `cuda_graphs` asks for it.
        cuda_graphs: replay steps as CUDA graphs on a GPU.
    """
    if executor.name == "lightning":
        return
    reported: set[str] = set()

    def on_obstacle(reason: str) -> None:
        if executor.is_required:
            raise refusal(reason)
        if reason not in reported:
            reported.add(reason)
            warn(f"the lean loop does not train it, because {reason}")

    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, on_obstacle, GraphedSteps(note) if cuda_graphs else None)
    trainer.callbacks.insert(0, _Watch(on_obstacle))  # type: ignore[attr-defined]


class _Watch(pl.Callback):
    """Detects that a module has replaced our loop by its own."""

    def __init__(self, on_obstacle: Callable[[str], None]) -> None:
        self._on_obstacle = on_obstacle

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        if not isinstance(loop, LeanEpochLoop):
            self._on_obstacle(f"{type(pl_module).__name__} has replaced the loop by its own ({type(loop).__name__})")


def refusal(reason: str) -> ExecutorError:
    """The error for a study that requires the lean executor."""
    return ExecutorError(f"lean is not possible, because {reason}: write auto, or omit the key")
