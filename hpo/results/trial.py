"""A trial as a plain record: everything stored about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, failure_in_words
from hpo.study.artifacts import sha256_of
from hpo.study.constraints import total
from hpo.study.length import Unit
from hpo.study.object_store import fetch_trial, is_address, local_path
from hpo.study.states import AttemptEnd, TrialState

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

_INFEASIBLE = (AttemptEnd.REFUSED.value, "infeasible")  # how causes begin that say so
Curve = tuple[tuple[int, Mapping[str, float]], ...]


@dataclass(frozen=True)
class TrialRecord:
    """One trial in any state.

    Attributes:
        number: counts from 0 within the study.
        state: see `hpo.study.states.TrialState`; paused means at a rung, idle that no worker trains it.
        value: the objective of its best epoch so far; None before an epoch has ended, and of a failed trial. Of
            several objectives, the first.
        values: of each objective, at its best epoch by the first one.
        params: the searched parameters that were active.
        config: all arguments of its model and data, searched or pinned, and its epochs or steps and its seed.
        curve: (epoch, metrics by name), one entry per epoch, the first epoch being 1; or one per validation, by step;
            empty where it was not asked for.
        epochs: the number of epochs, or steps, that it has been trained for.
        seconds: of all its attempts; None until one has ended.
        memory: bytes at its peak, in any attempt that has ended: what torch reserved on its GPU (of its first process,
            if it has several), or on the CPU the resident memory of its process; None where it is not known.
        attempts: how often a worker has claimed it.
        causes: how each of these attempts ended, in order; None for one that still runs.
        best_epoch: whose value that is.
        cause: why it failed, was ended or diverged, in a few words; None for the others.
        error: of a failed trial, the message or traceback.
        device: that the last attempt ran on.
        worker: `host:process` of the last attempt.
        checkpoint: file with the best epoch's weights, on the machine that trained it; None while it trains, and when
            it was not kept.
        checkpoint_sha256: of that file as the trial wrote it, in hexadecimal; None where it is not known.
        before_change: the change of data or code that was accepted since, in words; such a trial is not compared with
            later ones.
        violations: by the name of each constraint that was judged, by how much it violates it; above 0, the trial is
            infeasible, and never the best.
        expected: the value that it would have on average, if it were trained and judged again; see `Study.expected`.
            None where it was not asked for.
        expected_low, expected_high: an interval that has it with a probability of 95 %.
        provenance: seed, data, code, commit, versions, device and the like of its last attempt, and what changed
            between its attempts; empty where they were not recorded, and None in a listing, which does not read them.
    """

    number: int
    state: TrialState
    value: float | None
    values: tuple[float, ...]
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    curve: Curve
    epochs: int
    best_epoch: int | None
    seconds: float | None
    attempts: int
    causes: tuple[str | None, ...]
    cause: str | None
    error: str | None
    device: str | None
    worker: str | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    started: datetime | None  # UTC, naive, as Optuna stores it
    ended: datetime | None
    before_change: str | None = None
    provenance: Mapping[str, Any] | None = None
    memory: int | None = None
    violations: Mapping[str, float] = field(default_factory=dict)
    expected: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether it violates no constraint, as far as that is known."""
        return total(self.violations) == 0

    @property
    def unit(self) -> Unit:
        """What its epochs are: epochs, or the steps of a study whose length is given in steps."""
        return Unit.of(self.config)

    @property
    def max_epochs(self) -> int | None:
        """The number of epochs, or steps, that it is to be trained for, unless it ends early; None before it begins."""
        epochs = self.config.get(self.unit.plural)
        return epochs if isinstance(epochs, int) else None

    @property
    def remark(self) -> str:
        """How far it was trained: 'pruned after 19 of 27 epochs', 'diverged at epoch 20'; empty when to its end."""
        if self.state == TrialState.COMPLETE:
            return self.cause or ""
        total = "" if self.max_epochs is None else f" of {self.max_epochs}"
        return f"{self.state} after {self.epochs}{total} {self.unit.plural}"

    @property
    def failure(self) -> str | None:
        """Why it failed, in a line: 'error: ValueError: too large'; None for one that has not failed."""
        return failure_in_words(self.cause or "", self.error) if self.state == TrialState.FAILED else None

    @property
    def explanation(self) -> str | None:
        """Why it failed or was ended, and what has changed since, in a line; None where there is nothing to say."""
        change = None if self.before_change is None else f"from before a change ({self.before_change})"
        words = self.failure or self.cause
        against = None
        if not self.feasible and not (words or "").startswith(_INFEASIBLE):
            against = f"infeasible: {', '.join(name for name, amount in self.violations.items() if amount > 0)}"
        return "; ".join(text for text in (words, against, change) if text) or None

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: plain types, the curve left out, and the provenance where it was not read."""
        plain = dict(vars(self))  # not copied in depth, which takes seconds for thousands of trials
        del plain["curve"]
        if self.provenance is None:
            del plain["provenance"]
        if self.expected is None:
            for name in ("expected", "expected_low", "expected_high"):
                del plain[name]
        for name in ("started", "ended"):
            moment = plain[name]
            plain[name] = None if moment is None else moment.isoformat(timespec="milliseconds") + "Z"
        return plain | {
            "params": dict(self.params),
            "config": dict(self.config),
            "values": list(self.values),
            "max_epochs": self.max_epochs,
            "unit": self.unit.value,
            "feasible": self.feasible,
            "violations": dict(self.violations),
            "causes": list(self.causes),
        }

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> TrialRecord:
        """From what `to_json` gives: without a curve."""
        kept = {name: plain[name] for name in TrialRecord.__dataclass_fields__ if name in plain}
        for name in ("started", "ended"):
            moment = plain[name]
            kept[name] = None if moment is None else datetime.fromisoformat(moment).replace(tzinfo=None)
        state, sequences = TrialState(plain["state"]), {name: tuple(plain[name]) for name in ("values", "causes")}
        return TrialRecord(**{**kept, **sequences, "state": state, "curve": ()})

    def row(self) -> dict[str, Any]:
        """One flat row: what a table of trials shows, with the parameters as `params_NAME`."""
        plain = self.to_json()
        first = ("number", "state", "value", "best_epoch", "epochs", "max_epochs", "seconds", "attempts")
        last = ("cause", "device", "worker", "checkpoint")
        params = {f"params_{name}": value for name, value in self.params.items()}
        return {name: plain[name] for name in first} | params | {name: plain[name] for name in last}

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it."""
        from hpo.notebook import block, facts, line

        metrics = dict(self.curve).get(self.best_epoch or 0, {})
        return block(
            line(f"trial {self.number}: {self.remark or self.state}", is_title=True),
            facts(
                [
                    ("value", self.value if len(self.values) < 2 else ", ".join(f"{one:.4g}" for one in self.values)),
                    (f"best {self.unit}", self.best_epoch),
                    (f"{self.unit.plural} trained", self.epochs),
                    *((name, "None" if value is None else value) for name, value in self.params.items()),
                    *((name, value) for name, value in metrics.items() if value != self.value),
                    ("seconds", self.seconds),
                    ("attempts", self.attempts if self.attempts > 1 else None),
                    ("explanation", self.explanation),
                    ("device", self.device),
                    ("checkpoint", "kept" if self.checkpoint else None),
                ]
            ),
        )

    def load_model(self, *, project: str | Path = ".") -> LightningModule:
        """Build the model again and give it the weights of its best epoch; on the CPU, in evaluation mode.

        The model refuses batches of a data module of ours that has fitted its scalings, categories and the like on
        other rows than the trial's, such as those of a new file.

        `hpo.load_model` does the same, and loads from a folder or a file where there is no store.

        Args:
            project: folder from which the model's module is imported.

        Raises:
            HpoError: the trial has no checkpoint, the file or the class is not there, or it is another file than the
                trial wrote.
        """
        path = self.kept_checkpoint()
        from hpo.training.load_model import load_model

        return load_model(self.config, path, Path(project))

    def kept_checkpoint(self) -> Path:
        """The file with the weights of its best epoch.

        Raises:
            HpoError: it has none, or it is another file than the trial wrote; a missing file is not looked at.
        """
        if self.checkpoint is None and self.state == TrialState.RUNNING:
            raise HpoError(
                f"trial {self.number} is running: its weights can be loaded when it has ended, or was handed back by "
                "its worker ('hpo pause', Ctrl-C)"
            )
        if self.checkpoint is None:
            raise HpoError(
                f"trial {self.number} ({self.state}) has no checkpoint: a study keeps those of its best trials "
                "(keep: {checkpoints: 5} in the study file)"
            )
        path = local_path(self.checkpoint)
        if is_address(self.checkpoint) and not path.exists():
            fetch_trial(path.parent)
        return self.own_checkpoint(path)

    def own_checkpoint(self, path: Path) -> Path:
        """The path, unless its file is another one than the trial wrote; a missing file is not looked at.

        Raises:
            HpoError: it is, or cannot be read.
        """
        try:
            is_own = self.checkpoint_sha256 in (None, sha256_of(path))
        except FileNotFoundError:
            return path
        except OSError as error:
            raise HpoError(f"{path} cannot be read: {error.strerror}") from error
        if not is_own:
            raise HpoError(
                f"{path} is not the file that trial {self.number} wrote: it was replaced or changed. Put back a copy "
                "of it, or read the file that is there with torch.load(..., weights_only=True)"
            )
        return path
