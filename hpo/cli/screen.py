"""The output of a run: a live view on a terminal, a line an event elsewhere, and the best trials at the end."""

from __future__ import annotations

import contextlib
import logging
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from hpo.cli.answer import LogLines
from hpo.cli.console import Console, Text, console
from hpo.cli.tables import number, print_best
from hpo.printable import counted, duration, duration_between, mebibytes
from hpo.study.length import Unit

if TYPE_CHECKING:
    from hpo.store import Store
    from hpo.worker.loop import Worker
    from hpo.worker.running_trial import RunningTrial
    from hpo.worker.study_run import StudyRun
    from hpo.worker.time_left import TimeLeft

WIDTH_FOR_BARS = 90  # of a terminal: on a narrower one, the slots have no bars
LONGEST_HEADING = 14  # characters of a metric's name there


def log_to_stderr(*, verbose: bool) -> None:
    """A line an event, for files and pipes."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("hpo").setLevel(logging.DEBUG if verbose else logging.INFO)


class Screen:
    """One run's output."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live: Live | None = None
        self._worker: Worker | None = None
        self._run: StudyRun | None = None
        self._left: TimeLeft | None = None
        self._since = time.monotonic()

    @staticmethod
    def start(*, verbose: bool) -> Screen:
        out = console()
        if out.is_terminal:
            # Events would push the view away; it shows them itself. What somebody should look at stays.
            handler = RichHandler(console=out, show_path=False, highlighter=NullHighlighter(), keywords=[])
            handler.setFormatter(LogLines("%(message)s"))
            logging.basicConfig(handlers=[handler])
            logging.getLogger("hpo").setLevel(logging.DEBUG if verbose else logging.WARNING)
        else:
            log_to_stderr(verbose=verbose)
        screen = Screen(out)
        if out.is_terminal:
            out.print(Text("starting: importing torch ...", style="dim"))
        return screen

    @contextlib.contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show what is done, with its seconds, while it takes; nothing where there is no terminal."""
        if not self._out.is_terminal:
            yield
            return
        in_lines = Column(ratio=1)  # on a narrow terminal
        described = TextColumn("{task.description}", markup=False, table_column=in_lines)
        with Progress(SpinnerColumn(), described, TimeElapsedColumn(), console=self._out, transient=True) as progress:
            progress.add_task(doing, total=None)
            yield

    def say(self, line: str) -> None:
        self._out.print(Text(line))

    @contextlib.contextmanager
    def live(self, worker: Worker, run: StudyRun) -> Iterator[None]:
        """Show the run until it is over; nothing where there is no terminal."""
        from hpo.worker.time_left import TimeLeft

        self._worker, self._run = worker, run
        run.refresh()
        self._since = time.monotonic()
        if not self._out.is_terminal:
            yield
            return
        self._left = TimeLeft(worker, run)
        with Live(self._view(), console=self._out, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def draw(self) -> None:
        if self._live is not None and self._left is not None:
            self._left.look()
            self._live.update(self._view(), refresh=True)

    def show_result(self, store: Store, run: StudyRun, *, store_option: str | None) -> None:
        """The best trials, and what to type next."""
        from hpo.results.expected import undecided_in_words
        from hpo.results.study import Study

        name, counts = run.study.name, run.counts
        if run.progress.is_deleted:
            return
        found = Study(store, name)
        objectives = found.objectives
        records = found.best(None if objectives.are_several else 5)
        seconds = time.monotonic() - self._since
        states = counts.ends_in_words
        ended = f"{counts.ended}{counts.of_target} {'trial' if counts.ended == 1 else 'trials'}"
        self.say(f"\n{name}: {ended} ended ({states}) in {duration(seconds)}")
        if run.progress.is_ended_by_request:
            self.say(f"{name} was {run.progress.state} by request; the same command continues it")
        elif run.waiting_for:
            self.say(f"{name} waits: {run.waiting_for}; then the same command goes on")
        if not records:
            return
        several = objectives.are_several
        self.say(f"the front of {objectives}:" if several else f"best {objectives.metrics[0]}:")
        print_best(records, self._out, objectives=objectives.metrics)
        if (words := undecided_in_words(found.expected(), objectives.metrics[0])) is not None:
            self.say(words)
        if (gain := found.gain()) is not None:
            self.say(gain.in_words(objectives.metrics[0]))
        freed = f"; {mebibytes(run.freed)} of others were removed" if run.freed else ""
        self.say(f"kept: the checkpoints of {found.kept_checkpoints()}{freed}")
        url = store.url.without_password
        option = f" --store {shlex.quote(url)}" if store_option else ""
        opened = f"'{name}', store='{url}'" if store_option else f"'{name}'"
        commands = (
            f"hpo {'pareto' if several else 'best'} {name}{option} --json",
            f"hpo dashboard{option}",
            f'python -c "import hpo; print(hpo.open_study({opened}).best(1)[0].load_model())"',
        )
        self.say("Next:")
        for command in commands:  # a terminal wraps them, but they are copied as one line
            self._out.print(Text(f"  {command}"), soft_wrap=True)

    def _view(self) -> Group:
        assert self._worker is not None
        assert self._run is not None
        return Group(*self._headlines(self._run), self._slots(self._worker), self._best(self._run))

    def _headlines(self, run: StudyRun) -> Iterator[RenderableType]:
        counts, left = run.counts, self._left
        share = None if left is None else left.share
        head = Table.grid(Column(overflow="ellipsis", no_wrap=True), Column(), Column(no_wrap=True), padding=(0, 2))
        head.add_row(
            Text(run.study.name, style="bold"),
            "" if share is None else _bar(1.0, share),
            f"{counts.ended}{counts.of_target.replace(' of ', '/')} trials",
        )
        yield head
        states = f"{counts.complete} complete  {counts.pruned} pruned  {counts.failed} failed"
        if counts.refused:
            states += f"  {counts.refused} refused"
        if counts.paused:
            states += f"  {counts.paused} paused at a rung"
        if counts.idle:
            states += f"  {counts.idle} idle"
        yield Text(states)
        if run.waiting_for:
            yield Text(f"waits: {run.waiting_for}", style="bold magenta")
        epochs_a_minute = None if left is None else left.pace.epochs_a_minute
        if left is not None and epochs_a_minute is not None:
            about = "" if left.seconds is None else f"  about {duration_between(*left.seconds)} left"
            rate = f"{epochs_a_minute:.0f} {run.resolved.spec.unit.plural} a minute"
            yield Text.assemble((rate, "dim"), about)

    def _slots(self, worker: Worker) -> Table:
        assert self._run is not None
        spec = self._run.resolved.spec
        metric = spec.objective.metric
        has_bars = self._out.width >= WIDTH_FOR_BARS
        if len(metric) > LONGEST_HEADING and not has_bars:
            metric = f"{metric[: LONGEST_HEADING - 1]}\N{HORIZONTAL ELLIPSIS}"  # the line below has it in full
        table = Table(box=SIMPLE, pad_edge=False)
        for heading in ("slot", "trial", spec.unit, *([""] if has_bars else []), metric, "best", "seconds"):
            table.add_column(Text(heading), justify="right" if heading != "" else "left", no_wrap=True)
        for slot in worker.slots:
            trial = worker.trials.get(slot.number)
            name = f"{slot.number} {slot.device}"
            if trial is None:
                table.add_row(name, "-", Text("free", style="dim"))
            else:
                table.add_row(name, *_row(trial, has_bar=has_bars))
        return table

    def _best(self, run: StudyRun) -> Text:
        objective = run.resolved.spec.objective
        if run.best is None:
            return Text(f"best {objective.metric}: none yet", style="dim")
        remark = f", {run.best.remark}" if run.best.remark else ""
        front = "" if run.best.on_front is None else f", on a front of {counted(run.best.on_front, 'trial')}"
        text = f"best {objective.metric}: {number(run.best.value)} by trial {run.best.number}{remark}{front}"
        return Text(text, style="bold green")


def _row(trial: RunningTrial, *, has_bar: bool) -> tuple[str | ProgressBar, ...]:
    reached = max(trial.epoch, trial.reached or 0.0)
    part = reached - trial.epoch
    if trial.unit == Unit.STEP:
        done = f"{reached:.0f}/{trial.epochs}"
    else:
        within = f" +{part:.0%}" if part else f" step {trial.step}" if trial.step else ""
        done = f"{trial.epoch}/{trial.epochs}{within}"
    bar = _bar(trial.epochs, reached)
    return (
        str(trial.number),
        done,
        *([bar] if has_bar else []),
        number(trial.value),
        number(trial.best_value),
        f"{trial.seconds:.1f}",
    )


def _bar(total: float, completed: float) -> ProgressBar:
    """In a colour that reads on light and on dark, and is no warning, as Rich's own red may seem."""
    return ProgressBar(total, completed, width=20, style="dim", complete_style="cyan", finished_style="green")
