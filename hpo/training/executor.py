"""Which loop trains a trial: the lean one wherever it gives the same result, Lightning's own for everything else."""

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
    """What trains a trial.

    Attributes:
        reason: why it is not the lean one, in words that follow 'because'; empty where it is.
        is_demanded: it is this one or none.
    """

    name: Literal["lean", "lightning"]
    reason: str = ""
    is_demanded: bool = False

    def __str__(self) -> str:
        return f"{self.name}, because {self.reason}" if self.reason else self.name


def choose_executor(request: Request, model: pl.LightningModule, *, ranks: int = 1) -> Executor:
    """The executor for a module.

    Raises:
        ExecutorError: the lean one is demanded, and cannot be.
    """
    if request == "lightning":
        return Executor("lightning", "the study asks for it", is_demanded=True)
    reason = obstacle(model, ranks=ranks)
    if reason is None:
        return Executor("lean", is_demanded=request == "lean")
    if request == "lean":
        raise refusal(reason)
    return Executor("lightning", reason)


def use(
    executor: Executor, trainer: pl.Trainer, tell: Callable[[str], None], note: Callable[[str], None] = log.info
) -> None:
    """Have the Trainer train as the executor does.

    Args:
        tell: takes the news that a lean training goes on in another loop: for something that its module did when it
            was set up, or while it trained.
        note: takes, on a GPU, whether steps are replayed as a graph, or why they are not.
    """
    if executor.name == "lightning":
        return
    told: set[str] = set()

    def on_obstacle(reason: str) -> None:
        if executor.is_demanded:
            raise refusal(reason)
        if reason not in told:
            told.add(reason)
            tell(f"the lean loop does not train it, because {reason}")

    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, on_obstacle, GraphedSteps(note))
    trainer.callbacks.insert(0, _Watch(on_obstacle))  # type: ignore[attr-defined]


class _Watch(pl.Callback):
    """Sees when a module has put a loop of its own in the place of ours."""

    def __init__(self, on_obstacle: Callable[[str], None]) -> None:
        self._on_obstacle = on_obstacle

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        if not isinstance(loop, LeanEpochLoop):
            self._on_obstacle(f"{type(pl_module).__name__} has put a loop of its own there ({type(loop).__name__})")


def refusal(reason: str) -> ExecutorError:
    """The error for a study that demands the lean executor."""
    return ExecutorError(f"lean is not possible, because {reason}: write auto, or leave the key out")
