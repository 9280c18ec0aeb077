"""Workers, and the trials that they train now, as pages show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from hpo.printable import mebibytes
from hpo.report.words import NONE
from hpo.results.live import LiveTrial, LiveView, LiveWorker
from hpo.service.live import LiveReader
from hpo.web.ops.drawing import spark


@dataclass(frozen=True)
class RunningTrial:
    """A running trial, with what is words or a drawing of it."""

    trial: LiveTrial

    @property
    def device(self) -> str:
        """`cuda:0`, `2 devices from cuda:0`."""
        name = self.trial.device or NONE
        return name if self.trial.devices == 1 else f"{self.trial.devices} devices from {name}"

    @property
    def memory(self) -> str:
        """At the peak of its earlier attempts."""
        return NONE if self.trial.memory is None else mebibytes(self.trial.memory)

    @property
    def spark(self) -> Markup:
        """Its last epochs."""
        return spark([value for _, value in self.trial.curve])


@dataclass(frozen=True)
class WorkersView:
    """The workers of a store.

    Attributes:
        running: the running trials that somebody may see.
    """

    workers: Sequence[LiveWorker]
    running: Sequence[RunningTrial]
    moment: datetime

    def age(self, worker: LiveWorker) -> float:
        """Seconds since it was started."""
        return max(0.0, self.moment.timestamp() - worker.started)


def read_workers(reader: LiveReader, sees: Callable[[str], bool]) -> WorkersView:
    """Read them.

    Args:
        sees: whether a study may be shown.
    """
    view = reader.look()
    return WorkersView(view.workers, [RunningTrial(one) for one in view.trials if sees(one.study)], moment_of(view))


def moment_of(view: LiveView) -> datetime:
    """When it was read, UTC, by the store's clock."""
    return datetime.fromtimestamp(view.moment, UTC)
