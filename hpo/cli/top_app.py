"""The screen of `hpo top`: it looks into the store again and again, shows what it sees, and passes on what keys ask."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from hpo.cli import top_rows
from hpo.cli.console import Text
from hpo.cli.top_log import LogScreen
from hpo.cli.top_table import LiveTable
from hpo.errors import HpoError, SpecError
from hpo.printable import duration, in_a_line, printable
from hpo.results.live import LiveView
from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.store.engine import store_errors
from hpo.study.states import Request, StudyState

T = TypeVar("T")

PAUSE_FACTOR = 20.0  # times the seconds of its processor that a look takes: it uses less than a twentieth of a core
SECONDS_TO_CONFIRM = 5.0


@dataclass(frozen=True)
class Verb:
    """What a key asks of a study, or of a trial."""

    word: str
    state: StudyState
    request: Request | None


VERBS: Mapping[str, Verb] = {
    "p": Verb(Request.PAUSE, StudyState.PAUSED, Request.PAUSE),
    "r": Verb("resume", StudyState.RUNNING, None),
    "s": Verb(Request.STOP, StudyState.STOPPED, Request.STOP),
    "k": Verb(Request.KILL, StudyState.KILLED, Request.KILL),
}


@dataclass(frozen=True)
class Target:
    """What a key is about: a study, or one of its running trials."""

    study: str
    trial: int | None = None

    def __str__(self) -> str:
        name = f"study {in_a_line(self.study)}"
        return name if self.trial is None else f"trial {self.trial} of {name}"


class TopApp(App[None]):
    """The screen.

    Args:
        first: what `reader` has seen.
        artifacts: the folder for checkpoints and logs on this machine.
        every: seconds between two looks, or longer where one takes long.
    """

    TITLE = "hpo top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
    #studies { height: auto; max-height: 30%; }
    #study { height: auto; max-height: 4; padding: 0 1; }
    #trials { height: 1fr; min-height: 4; }
    #workers { height: auto; max-height: 20%; }
    #failures { height: auto; max-height: 6; padding: 0 1; }
    #said { height: auto; max-height: 3; padding: 0 1; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"ask('{key}')", str(verb.word)) for key, verb in VERBS.items()),
        Binding("e", "enqueue", "enqueue"),
        Binding("l", "log", "log"),
        Binding("escape", "leave", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, store: Store, reader: LiveReader, first: LiveView, *, artifacts: Path, every: float) -> None:
        super().__init__()
        self._store, self._reader, self._view = store, reader, first
        self._artifacts, self._every = artifacts, every
        self._thread = ThreadPoolExecutor(max_workers=1)  # all that asks the store, so that the screen never waits
        self._to_kill: tuple[Target, float] | None = None  # asked once, and when, in monotonic seconds
        self._texts: dict[str, Text] = {}  # what is shown, by its place
        self._point_of = ""  # the study that a point is typed for
        self._silent_since: float | None = None  # monotonic seconds

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield LiveTable(id="studies")
        yield Static(id="study", markup=False)
        yield LiveTable(id="trials")
        yield LiveTable(id="workers")
        yield Static(id="failures", markup=False)
        yield Static(id="said", markup=False)
        point = Input(id="point", placeholder="lr=1e-3 depth=2")
        point.display = False
        yield point
        yield Footer()

    def on_mount(self) -> None:
        self._draw()
        self.query_one("#trials", LiveTable).focus()
        self.run_worker(self._look(), group="look")

    def on_unmount(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def on_resize(self) -> None:
        self._draw()

    async def _look(self) -> None:
        while True:
            used, began = time.process_time(), time.monotonic()
            try:
                self._view = await self._call(self._reader.look)
            except HpoError as error:
                self._tell_silence(error)
            else:
                self._silent_since = None
                self._draw()
            rest = self._every - (time.monotonic() - began)
            await asyncio.sleep(max(rest, PAUSE_FACTOR * (time.process_time() - used)))

    async def _call(self, function: Callable[[], T]) -> T:
        """What a function of the store says, from its thread.

        Raises:
            HpoError: of the function, or the store does not answer.
        """

        def ask() -> T:
            with store_errors(self._store.url):
                return function()

        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    def _tell_silence(self, error: HpoError) -> None:
        """The last view stays."""
        if not self._has_widgets:
            return
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        line = in_a_line(str(error).splitlines()[0])
        self._put("head", Text(f"for {duration(now - self._silent_since)}, nothing new: {line}", style="bold red"))

    @property
    def _has_widgets(self) -> bool:
        """A terminal's size comes before them, and what the store answers may come when they are gone."""
        return bool(self.query("#said"))

    def _draw(self) -> None:
        if not self._has_widgets:
            return
        view, width = self._view, self.size.width
        self._put("head", Text(top_rows.headline(view, self._store.url.without_password)))
        studies = self.query_one("#studies", LiveTable)
        studies.show(top_rows.study_headings(width), top_rows.study_rows(view, width))
        chosen = studies.chosen
        self._put("study", top_rows.study_line(None if chosen is None else view.study(chosen)))
        trials, workers = self.query_one("#trials", LiveTable), self.query_one("#workers", LiveTable)
        trials.show(top_rows.trial_headings(view, width), top_rows.trial_rows(view, width))
        workers.show(top_rows.worker_headings(width), top_rows.worker_rows(view, width))
        self._put("failures", top_rows.failure_lines(view.failures, view.moment))

    def _put(self, place: str, text: Text) -> None:
        """Show a text, unless it is there already: to show it lays the whole screen out anew."""
        before = self._texts.get(place)
        if before is None or before != text or before.style != text.style:
            self._texts[place] = text
            self.query_one(f"#{place}", Static).update(text)

    def say(self, text: str) -> None:
        """A line above the keys."""
        if not self._has_widgets:
            return
        self._put("said", Text(printable(text)))

    def on_live_table_moved(self) -> None:
        """The line below the studies is of the one under the cursor."""
        chosen = self.query_one("#studies", LiveTable).chosen
        self._put("study", top_rows.study_line(None if chosen is None else self._view.study(chosen)))

    def on_live_table_chosen(self, event: LiveTable.Chosen) -> None:
        """Enter opens a trial's log."""
        if event.table.id == "trials":
            self.action_log()

    def _target(self) -> Target | None:
        """The running trial under the cursor, where its table has the focus; otherwise the study."""
        trials, studies = self.query_one("#trials", LiveTable), self.query_one("#studies", LiveTable)
        if trials.has_focus:
            return self._trial()
        return None if studies.chosen is None else Target(studies.chosen)

    def _trial(self) -> Target | None:
        key = self.query_one("#trials", LiveTable).chosen
        study, _, number = (key or "").partition("\0")
        return Target(study, int(number)) if study else None

    def action_ask(self, key: str) -> None:
        """Pause, resume, stop or kill what the cursor is on."""
        target, verb = self._target(), VERBS[key]
        if target is None:
            self.say(f"nothing to {verb.word} here: choose a running trial, or with Tab a study")
            return
        if verb.request == Request.KILL and not self._is_confirmed(target):
            self._to_kill = target, time.monotonic()
            self.say(f"kill {target}? k again kills it at once, and it counts as failed")
            return
        self._to_kill = None
        self._do(lambda: self._request(target, verb))

    def _is_confirmed(self, target: Target) -> bool:
        if self._to_kill is None:
            return False
        asked, when = self._to_kill
        return asked == target and time.monotonic() - when < SECONDS_TO_CONFIRM

    def _request(self, target: Target, verb: Verb) -> str:
        from hpo.service.steer import request_study, request_trial

        if target.trial is None:
            return request_study(self._store, target.study, verb.state, artifacts=self._artifacts)
        return request_trial(self._store, target.study, target.trial, verb.request, artifacts=self._artifacts)

    def _do(self, function: Callable[[], str]) -> None:
        """Ask the store for something; meanwhile, keys are answered."""
        self.say("asking the store ...")
        self.run_worker(self._ask(function), group="ask")

    async def _ask(self, function: Callable[[], str]) -> None:
        """Show the answer, and what it changed."""
        try:
            said = await self._call(function)
            self._view = await self._call(lambda: self._reader.look(is_fresh=True))
        except HpoError as error:
            said = str(error)
        self.say(said)
        self._draw()

    def action_enqueue(self) -> None:
        """Ask for a point of the study."""
        target = self._target()
        study = target.study if target is not None else self.query_one("#studies", LiveTable).chosen
        if study is None:
            self.say("the store has no study to enqueue a trial for")
            return
        self._point_of = study
        self.say(f"a point for study {in_a_line(study)}: others are sampled; Enter enqueues, Escape leaves")
        prompt = self.query_one("#point", Input)
        prompt.display = True
        self.set_focus(prompt)  # at once: the next key is for it

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enqueue the point."""
        text, study = event.value, self._point_of
        self.action_leave()
        if text.strip():
            self._do(lambda: _enqueue(self._store, study, text))

    def action_leave(self) -> None:
        """No point, nothing to kill."""
        self._to_kill = None
        self.say("")
        prompt = self.query_one("#point", Input)
        if prompt.display:
            prompt.value = ""
            prompt.display = False
            self.set_focus(self.query_one("#trials", LiveTable))

    def action_log(self) -> None:
        """Open the log of the running trial under the cursor."""
        target = self._trial()
        if target is None or target.trial is None:
            self.say("no trial here has a log: choose a running one")
            return
        self.push_screen(LogScreen(self._store, target.study, target.trial, artifacts=self._artifacts))


def _enqueue(store: Store, study: str, text: str) -> str:
    from hpo.queue.enqueue import enqueue_points
    from hpo.service.points import point_of_words

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SpecError(f"'{text}' has a quotation that does not end: lr=1e-3 optimizer=adam") from error
    return str(enqueue_points(store, study, [point_of_words(words)]))
