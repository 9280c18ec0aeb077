"""The screen of `hpo top` with the log of one trial, as it grows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Footer, Log, Static

from hpo.cli.console import Text
from hpo.errors import HpoError
from hpo.printable import in_a_line, printable
from hpo.service.log_tail import READ_SECONDS, LogTail
from hpo.service.trial_log import find_log
from hpo.store import Store

LINES, MOST_LINES = 500, 5000  # at first, and that are kept


class LogScreen(ModalScreen[None]):
    """The end of a trial's log, and what comes to it; keys of the screen below do nothing meanwhile."""

    CSS = """
    LogScreen { background: $background; }
    LogScreen > Static { height: auto; max-height: 5; text-style: bold; }
    LogScreen > Log { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l,q", "app.pop_screen", "back")]

    def __init__(self, store: Store, study: str, trial: int, *, artifacts: Path) -> None:
        super().__init__()
        self._store, self._study, self._trial, self._artifacts = store, study, trial, artifacts

    def compose(self) -> ComposeResult:
        yield Static(Text(f"log of trial {self._trial} of {in_a_line(self._study)}"), markup=False)
        yield Log(max_lines=MOST_LINES)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        try:
            found = await asyncio.to_thread(find_log, self._store, self._study, self._trial, artifacts=self._artifacts)
        except HpoError as error:
            self.query_one(Static).update(Text(str(error)))
            return
        tail, log = LogTail(found.path, lines=LINES), self.query_one(Log)
        while True:
            if lines := await asyncio.to_thread(tail.read):
                log.write_lines([printable(line) for line in lines])
            await asyncio.sleep(READ_SECONDS)
