"""The progress of a run in a notebook's cell: one output, which is replaced as the run goes on."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from hpo.notebook import bar, block, line, table
from hpo.printable import counted
from hpo.study.length import Unit
from hpo.study.states import TrialState
from hpo.worker.loop import Worker
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_run import StudyRun
from hpo.worker.time_left import TimeLeft


class LiveTable:
    """One run's output in the cell that runs; a notebook that is opened later shows the last one."""

    def __init__(self) -> None:
        self._publish = sys.modules["IPython"].get_ipython().display_pub.publish
        self._of_cell = {"display_id": uuid.uuid4().hex}
        self._is_shown = False
        self._left: TimeLeft | None = None

    def show(self, worker: Worker, run: StudyRun) -> None:
        """Show how far it is; to be called about once a second."""
        self._left = self._left or TimeLeft(worker, run)
        self._left.look()
        counts = run.counts
        text = f"{run.study.name}: {counts.ended}{counts.of_target} trials ended"
        data: dict[str, Any] = {"text/html": block(*_parts(worker, run, self._left)), "text/plain": text}
        self._publish(data, {}, transient=self._of_cell, update=self._is_shown)
        self._is_shown = True


def _parts(worker: Worker, run: StudyRun, left: TimeLeft) -> Iterator[Markup]:
    counts, spec = run.counts, run.resolved.spec
    yield line(f"{run.study.name}: {counts.ended}{counts.of_target} trials", is_title=True)
    share = 1.0 if run.progress.is_over else left.share
    if share is not None:
        yield bar(share)
    more = {"paused at a rung": counts.paused, TrialState.IDLE: counts.idle}
    yield line(", ".join([counts.ends_in_words, *(f"{number} {state}" for state, number in more.items() if number)]))
    if run.waiting_for:
        yield line(f"waits: {run.waiting_for}")
    if worker.is_draining and worker.trials:
        yield line(f"interrupted: {counted(len(worker.trials), 'trial')} will be handed back after the present epoch")
    if run.best is None:
        yield line(f"best {spec.objective.metric}: none yet")
    else:
        remark = f", {run.best.remark}" if run.best.remark else ""
        front = "" if run.best.on_front is None else f", on a front of {counted(run.best.on_front, 'trial')}"
        words = f"best {spec.objective.metric}: {run.best.value:.4g} by trial {run.best.number}{remark}{front}"
        yield line(words, is_title=True)
    if worker.trials:
        headings = ("slot", "trial", str(spec.unit), spec.objective.metric, "best", "seconds")
        yield table(headings, [_row(one) for _, one in sorted(worker.trials.items())])
    pace = left.pace.epochs_a_minute
    if pace is not None and not run.is_over:
        about = f", about {left.in_words} left" if left.in_words else ""
        yield line(f"{pace:.0f} {spec.unit.plural} a minute{about}")


def _row(trial: RunningTrial) -> tuple[object, ...]:
    reached = trial.epoch if trial.unit == Unit.EPOCH else round(max(trial.epoch, trial.reached or 0.0))
    done = f"{reached} of {trial.epochs}"
    slot = f"{trial.slot.number} {trial.slot.device}"
    return slot, trial.number, done, trial.value, trial.best_value, round(trial.seconds)
