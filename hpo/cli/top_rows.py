"""What `hpo top` shows of a view: the headings and rows of its tables, and its lines, as text that is safe to print."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from rich.color import Color
from textual.renderables.sparkline import Sparkline

from hpo.cli.console import Text, console
from hpo.printable import duration, duration_between, in_a_line
from hpo.results.live import LiveFailure, LiveStudy, LiveTrial, LiveView, LiveWorker
from hpo.study.states import StudyState, TrialState

WIDTH_OF_SPARKLINE = 12
MOST_STUDIES = 100  # rows
WIDE, NARROW = 110, 80  # columns of a terminal: below these, the less important columns are left out
LONGEST_NAME = 24
STYLES: Mapping[str, str] = {
    StudyState.RUNNING: "green",
    StudyState.PAUSED: "yellow",
    StudyState.STOPPED: "magenta",
    StudyState.KILLED: "magenta",
    StudyState.DONE: "dim",
}
Cell = tuple[str, str]  # a text that is safe to print, and its style
Rows = dict[str, list[Cell]]  # by the row's key


def cell(text: str, style: str = "") -> Cell:
    """A text in a line, with its style."""
    return in_a_line(text), style


def number(value: float | None) -> str:
    """As tables show values."""
    return "-" if value is None else f"{value:.4g}"


def short(name: str) -> str:
    """A name in a line, its end left out where it is long."""
    shown = in_a_line(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"


def headline(view: LiveView, url: str) -> str:
    """Of the whole store."""
    alive = [worker for worker in view.workers if not worker.is_lost]
    slots, busy = sum(worker.slots for worker in alive), sum(worker.busy for worker in alive)
    return f"hpo top  {in_a_line(url)}  workers {len(alive)}  slots {busy}/{slots}  trials {len(view.trials)} running"


def study_headings(width: int) -> list[str]:
    """Of `study_rows`."""
    return ["study", "state", "trials", "run", "fail", "best", *(["by", "budget"] if width >= WIDE else []), "left"]


def study_rows(view: LiveView, width: int) -> Rows:
    """Those that are open first, the newest first among the others; not more than MOST_STUDIES."""
    order = sorted(
        enumerate(view.studies),
        key=lambda one: (one[1].state not in (StudyState.RUNNING, StudyState.PAUSED), -one[0]),
    )
    return {study.name: list(_study(study, width)) for _, study in order[:MOST_STUDIES]}


def _study(study: LiveStudy, width: int) -> Iterator[Cell]:
    state = f"{study.state}, waits" if study.waiting_for and study.state == StudyState.RUNNING else str(study.state)
    spent = f"{study.spent['trials']:.0f}"
    yield cell(short(study.name), style="bold")
    yield cell(state, style="yellow" if study.waiting_for else STYLES.get(study.state, ""))
    yield cell(spent if study.target is None else f"{spent}/{study.target}")
    yield cell(str(study.counts[TrialState.RUNNING]))
    failed = study.counts[TrialState.FAILED]
    yield cell(str(failed), style="red" if failed else "")
    yield cell(f"front of {study.on_front}" if study.on_front is not None else number(study.best_value))
    if width >= WIDE:
        yield cell("-" if study.best_number is None else f"#{study.best_number}")
        yield cell(budget_in_words(study) or "-")
    yield cell("-" if study.seconds_left is None else duration_between(*study.seconds_left))


def budget_in_words(study: LiveStudy) -> str:
    """`hours 0.4/2, target 0.98`."""
    return ", ".join(
        f"{name} {number(study.spent[name])}/{limit:g}" if name in study.spent else f"{name} {limit:g}"
        for name, limit in study.limits.items()
    )


def study_line(study: LiveStudy | None) -> Text:
    """What there is to say of the study under the cursor."""
    if study is None:
        return Text("no studies yet: 'hpo run STUDY.yaml' begins one", style="dim")
    metric = in_a_line(study.metric or "value")
    parts = [f"{in_a_line(study.name)}: best {metric} "]
    parts[0] += "none yet" if study.best_value is None else f"{number(study.best_value)} by trial {study.best_number}"
    if study.on_front is not None:
        parts[0] = f"{in_a_line(study.name)}: front of {study.on_front}"
    if budget := budget_in_words(study):
        parts.append(budget)
    if study.seconds_left is not None:
        parts.append(f"about {duration_between(*study.seconds_left)} left")
    if study.reason:
        parts.append(in_a_line(study.reason.splitlines()[0]))
    text = Text("; ".join(parts))
    if study.waiting_for:
        text.append(f"\nwaits: {in_a_line(study.waiting_for)}", style="bold yellow")
    return text


def trial_headings(view: LiveView, width: int) -> list[str]:
    """Of `trial_rows`."""
    metrics = {in_a_line(study.metric or "value") for study in view.studies if study.metric}
    value = short(metrics.pop()) if len(metrics) == 1 else "value"
    study = [] if len(view.studies) == 1 else ["study"]
    headings = ["trial", *study, "epoch", value, "curve", "time"]
    if width < NARROW:
        return headings
    more = ["share", "memory", "samples/s", "asked"] if width >= WIDE else []
    return [*headings, "device", "lease", *more, "worker slot"]


def trial_rows(view: LiveView, width: int) -> Rows:
    """The running trials, then the free slots."""
    found = {f"{trial.study}\0{trial.number}": list(_trial(trial, view, width)) for trial in view.trials}
    blank = [cell("")] * len(trial_headings(view, width))
    taken = {(trial.worker_id, trial.slot) for trial in view.trials}
    for worker in view.workers:
        free = 0 if worker.is_lost else max(0, worker.slots - worker.busy)
        for slot in [slot for slot in range(worker.slots) if (worker.worker_id, slot) not in taken][:free]:
            first, last = cell("free", style="dim"), cell(f"{short(worker.name)} {slot}", style="dim")
            found[f"\0{worker.worker_id}\0{slot}"] = [first, *blank[2:], last]
    return found


def _trial(trial: LiveTrial, view: LiveView, width: int) -> Iterator[Cell]:
    yield cell(str(trial.number), style="bold")
    if len(view.studies) != 1:
        yield cell(short(trial.study))
    yield cell(f"{trial.epoch}/{trial.max_epochs or '?'}")
    yield cell(number(trial.value))
    yield cell(sparkline([value for _, value in trial.curve]))
    yield cell(duration(trial.seconds))
    if width < NARROW:
        return
    is_late = trial.lease_left < 0
    yield cell(short(trial.device or "-"))
    yield cell("over" if is_late else f"{trial.lease_left:.0f} s", style="red" if is_late else "")
    if width >= WIDE:
        yield cell("-" if trial.share == 1 and trial.devices == 1 else f"{trial.devices} x {trial.share:.2g}")
        yield cell("-" if trial.memory is None else f"{trial.memory / 2**20:,.0f} MiB")
        yield cell(number(trial.samples_per_second))
        yield cell(trial.request or "-", style="yellow")
    yield cell(f"{short(trial.worker)} {trial.slot}")


def worker_headings(width: int) -> list[str]:
    """Of `worker_rows`."""
    return ["worker", "slots", "heartbeat", *(["since", "number"] if width >= WIDE else [])]


def worker_rows(view: LiveView, width: int) -> Rows:
    """All of them."""
    return {str(worker.worker_id): list(_worker(worker, view, width)) for worker in view.workers}


def _worker(worker: LiveWorker, view: LiveView, width: int) -> Iterator[Cell]:
    yield cell(short(worker.name), style="bold")
    yield cell(f"{worker.busy}/{worker.slots} busy")
    ago = f"{worker.seconds_since_beat:.0f} s ago"
    yield cell(f"lost: {ago}" if worker.is_lost else ago, style="red" if worker.is_lost else "")
    if width >= WIDE:
        yield cell(duration(view.moment - worker.started))
        yield cell(str(worker.worker_id))


def failure_lines(failures: Sequence[LiveFailure], moment: float) -> Text:
    """The last ones, a line each."""
    if not failures:
        return Text("no failures", style="dim")
    lines = [
        f"{duration(max(0.0, moment - one.ended))} ago  {short(one.study)} {one.number}"
        f"{f' (attempt {one.attempt})' if one.attempt > 1 else ''}: {in_a_line(one.error)}"
        for one in failures
    ]
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def sparkline(values: Sequence[float]) -> str:
    """A curve in a few characters, from its least to its largest value."""
    if not values:
        return ""
    return _drawn(tuple(values))


@functools.lru_cache(maxsize=1024)
def _drawn(values: tuple[float, ...]) -> str:
    drawn = Sparkline(values, width=min(WIDTH_OF_SPARKLINE, len(values)), min_color=_ANY, max_color=_ANY)
    segments = drawn.__rich_console__(_CONSOLE, _CONSOLE.options)
    return "".join(getattr(segment, "text", "") for segment in segments)


_ANY, _CONSOLE = Color.from_rgb(0, 0, 0), console()
