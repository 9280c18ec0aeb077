"""The output of a run: a live view on a terminal, a line an event elsewhere, and the best trials at the end."""

from __future__ import annotations

import contextlib
import logging
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.cli.tables import console, number, print_best
from hpo.study.length import Unit
from hpo.study.limits import UNLIMITED

if TYPE_CHECKING:
    from hpo.store import Store
    from hpo.worker.loop import Worker
    from hpo.worker.running_trial import RunningTrial
    from hpo.worker.study_run import StudyRun

# A rate over fewer seconds than this says little.
SECONDS_FOR_A_RATE = 5.0


def log_to_stderr(*, verbose: bool) -> None:
    """A line an event, for files and pipes."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("hpo").setLevel(logging.DEBUG if verbose else logging.INFO)


class Screen:
    """One run's output."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live: Live | None = None
        self._worker: Worker | None = None
        self._run: StudyRun | None = None
        self._since = time.monotonic()
        self._epochs_before = 0

    @staticmethod
    def start(*, verbose: bool) -> Screen:
        out = console()
        if out.is_terminal:
            # Events would push the view away; it shows them itself. What somebody should look at stays.
            logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=out, show_path=False)])
            logging.getLogger("hpo").setLevel(logging.DEBUG if verbose else logging.WARNING)
        else:
            log_to_stderr(verbose=verbose)
        screen = Screen(out)
        if out.is_terminal:
            out.print("[dim]starting: importing torch ...[/dim]")
        return screen

    @contextlib.contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show what is done, with its seconds, while it takes; nothing where there is no terminal."""
        if not self._out.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._out, transient=True) as progress:
            progress.add_task(doing, total=None)
            yield

    def say(self, line: str) -> None:
        self._out.print(Text(line))

    @contextlib.contextmanager
    def live(self, worker: Worker, run: StudyRun) -> Iterator[None]:
        """Show the run until it is over; nothing where there is no terminal."""
        self._worker, self._run = worker, run
        run.refresh()
        self._epochs_before, self._since = run.epochs_trained, time.monotonic()
        if not self._out.is_terminal:
            yield
            return
        with Live(self._view(), console=self._out, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def draw(self) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)

    def show_result(self, store: Store, run: StudyRun, *, store_option: str | None) -> None:
        """The best trials, and what to type next."""
        from hpo.results.study import Study

        name, counts = run.study.name, run.counts
        if run.progress.is_deleted:
            return
        records = Study(store, name).best(5)
        seconds = time.monotonic() - self._since
        states = f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed"
        self.say(f"\n{name}: {counts.ended}{counts.of_target} trials ended ({states}) in {_duration(seconds)}")
        if run.progress.is_ended_by_request:
            self.say(f"{name} was {run.progress.state} by request; the same command continues it")
        elif run.waiting_for:
            self.say(f"{name} waits: {run.waiting_for}; then the same command goes on")
        if not records:
            return
        objective = run.resolved.spec.objective
        self.say(f"best {objective.metric}:")
        print_best(records, self._out)
        url = store.url.without_password
        option = f" --store {shlex.quote(url)}" if store_option else ""
        opened = f"'{name}', store='{url}'" if store_option else f"'{name}'"
        self.say(
            "Next:\n"
            f"  hpo best {name}{option} --json\n"
            f"  hpo dashboard{option}\n"
            f'  python -c "import hpo; print(hpo.open_study({opened}).best(1)[0].load_model())"'
        )

    def _view(self) -> Group:
        assert self._worker is not None
        assert self._run is not None
        return Group(self._headline(self._run), self._slots(self._worker), self._best(self._run))

    def _headline(self, run: StudyRun) -> Table:
        counts = run.counts
        grid = Table.grid(padding=(0, 2))
        states = f"{counts.complete} complete  {counts.pruned} pruned  {counts.failed} failed"
        if counts.paused:
            states += f"  {counts.paused} paused at a rung"
        if counts.idle:
            states += f"  {counts.idle} idle"
        is_limited = counts.target != UNLIMITED
        bar = ProgressBar(total=run.epochs_expected, completed=run.epochs_trained, width=30) if is_limited else ""
        trials = f"{counts.ended}/{counts.target} trials" if is_limited else f"{counts.ended} trials"
        grid.add_row(Text(run.study.name, style="bold"), bar, trials, states)
        if run.waiting_for:
            grid.add_row("", "", Text(f"waits: {run.waiting_for}", style="yellow"), "")
        seconds, epochs = time.monotonic() - self._since, run.epochs_trained - self._epochs_before
        if seconds > SECONDS_FOR_A_RATE and epochs:
            left = seconds_left(run, rate=epochs / seconds)
            about = "" if left is None else f"about {_duration(left)} left"
            rate = f"{60 * epochs / seconds:.0f} {run.resolved.spec.unit.plural} a minute"
            grid.add_row("", Text(rate, style="dim"), about, "")
        return grid

    def _slots(self, worker: Worker) -> Table:
        assert self._run is not None
        spec = self._run.resolved.spec
        table = Table(box=SIMPLE, pad_edge=False)
        for heading in ("slot", "trial", spec.unit, "", spec.objective.metric, "best", "seconds"):
            table.add_column(heading, justify="right" if heading != "" else "left", no_wrap=True)
        for slot in worker.slots:
            trial = worker.trials.get(slot.number)
            name = f"{slot.number} {slot.device}"
            if trial is None:
                table.add_row(name, "-", "", Text("free", style="dim"), "", "", "")
            else:
                table.add_row(name, *_row(trial))
        return table

    def _best(self, run: StudyRun) -> Text:
        objective = run.resolved.spec.objective
        if run.best is None:
            return Text(f"best {objective.metric}: none yet", style="dim")
        remark = f", {run.best.remark}" if run.best.remark else ""
        text = f"best {objective.metric}: {number(run.best.value)} by trial {run.best.number}{remark}"
        return Text(text, style="bold green")


def seconds_left(run: StudyRun, *, rate: float) -> float | None:
    """How long the study is expected to take from now; None where no limit is in sight.

    Args:
        rate: epochs, or steps, a second, of all its trials together.
    """
    progress, found = run.progress, []
    if progress.counts.target != UNLIMITED:
        found.append((run.epochs_expected - run.epochs_trained) / rate)
    hours = progress.limits.get("hours")
    if hours is not None and progress.spent is not None:
        found.append(3600 * (hours - progress.spent.hours))
    return max(0.0, min(found)) if found else None


def _row(trial: RunningTrial) -> tuple[str | ProgressBar, ...]:
    reached = max(trial.epoch, trial.reached or 0.0)
    if trial.unit == Unit.STEP:
        done = f"{reached:.0f}/{trial.epochs}"
    else:
        part = reached - trial.epoch
        done = f"{trial.epoch}/{trial.epochs}" + (f" +{part:.0%}" if part else "")
    bar = ProgressBar(total=trial.epochs, completed=reached, width=20)
    return (
        str(trial.number),
        done,
        bar,
        number(trial.value),
        number(trial.best_value),
        f"{trial.seconds:.1f}",
    )


def _duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
