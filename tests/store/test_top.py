"""`hpo top`: its keys, on a real store, and what it shows when something is wrong."""

from __future__ import annotations

import asyncio
import html
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PostgresServer
from projects.stored import folder_of
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import select, update

from hpo.__main__ import main
from hpo.cli.top_app import TopApp
from hpo.cli.top_table import LiveTable
from hpo.queue.delete import delete_rows
from hpo.results.study import Study
from hpo.service.live import LiveReader
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_trials, hpo_workers, studies
from hpo.study.job import LOG
from hpo.study.states import Request

SECONDS = 120  # to wait for what comes in a moment


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of its own, to be stopped."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-top-"))
    server = PostgresServer(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


class Watched:
    """`hpo top` on a screen of its own."""

    def __init__(self, app: TopApp, pilot: Any) -> None:
        self.app, self._pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()

    @property
    def text(self) -> str:
        """What is on the screen."""
        drawn = self.app.export_screenshot(simplify=True)
        lines = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
        return "\n".join(html.unescape(line).replace("\xa0", " ") for line in lines)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < end, self.text
            await self._pilot.pause(0.05)

    async def shows(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.text for text in texts))


@asynccontextmanager
async def watch(
    store: Store, artifacts: Path, study: str | None = None, *, size: tuple[int, int] = (140, 40)
) -> AsyncIterator[Watched]:
    reader = LiveReader(store, study)
    app = TopApp(store, reader, reader.look(), artifacts=artifacts, every=0.1)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Watched(app, pilot)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def request_of(store: Store) -> Request | None:
    """What was asked of the only trial."""
    with store.read() as connection:
        found = connection.scalar(select(hpo_trials.c.request))
    return Request(found) if found else None


def state_of(store: Store) -> str:
    return Study(store, "synthetic").status().state


def test_the_screen_shows_studies_trials_workers_and_failures(sqlite_store: Store, tmp_path: Path) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    worker.finish(begin_next(worker), None, state="FAIL", cause="x", error="y")
    worker.finish(begin_next(worker, 0.25, 0.875), 0.875, best_epoch=2)
    begin_next(worker, 0.25, 0.5)
    with sqlite_store.write() as connection:
        failed = hpo_attempts.c.attempt_id == 1
        connection.execute(update(hpo_attempts).where(failed).values(kind="error", cause="error: ValueError"))

    async def test() -> None:
        async with watch(sqlite_store, tmp_path) as shown:
            await shown.shows("synthetic", "running", "3/100", "0.875", "2/?", "here:1", "1/1 busy")
            assert "best val_accuracy 0.875 by trial 1" in shown.text
            assert "error: ValueError" in shown.text
            begin_next(worker, 0.125)
            await shown.shows("0.125")

    run(test())


def test_keys_ask_of_the_trial_or_the_study_under_the_cursor(sqlite_store: Store, tmp_path: Path) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    begin_next(worker, 0.5)

    async def test() -> None:
        async with watch(sqlite_store, tmp_path) as shown:
            await shown.press("p")
            await shown.until(lambda: request_of(sqlite_store) == Request.PAUSE)
            await shown.press("r")
            await shown.until(lambda: request_of(sqlite_store) is None)
            await shown.press("s")
            await shown.until(lambda: request_of(sqlite_store) == Request.STOP)
            shown.app.set_focus(shown.app.query_one("#studies", LiveTable))
            await shown.press("p")
            await shown.until(lambda: state_of(sqlite_store) == "paused")
            await shown.shows("it is paused: 'hpo resume synthetic' continues it")
            await shown.press("r")
            await shown.until(lambda: state_of(sqlite_store) == "running")

    run(test())


def test_kill_is_confirmed_by_a_second_key(sqlite_store: Store, tmp_path: Path) -> None:
    begin_next(Claimant(sqlite_store, create_study(sqlite_store)), 0.5)

    async def test() -> None:
        async with watch(sqlite_store, tmp_path) as shown:
            await shown.press("k")
            await shown.shows("kill trial 0 of study synthetic? k again kills it at once")
            await shown.press("escape")
            await shown.press("k")
            assert request_of(sqlite_store) is None
            await shown.press("k")
            await shown.until(lambda: request_of(sqlite_store) == Request.KILL)

    run(test())


def test_a_point_is_enqueued_and_a_wrong_one_is_explained(sqlite_store: Store, tmp_path: Path) -> None:
    create_study(sqlite_store)

    def waiting() -> int:
        return Study(sqlite_store, "synthetic").status().counts["waiting"]

    async def test() -> None:
        async with watch(sqlite_store, tmp_path) as shown:
            await shown.press("e", *"dept=3", "enter")
            await shown.shows("did you mean 'depth'?")
            assert waiting() == 0
            await shown.press("e", *"depth=3", "enter")
            await shown.until(lambda: waiting() == 1)
            await shown.press("e", *"q", "escape")
            assert shown.app.is_running

    run(test())


def test_a_trials_log_opens_and_grows_as_text(sqlite_store: Store, tmp_path: Path) -> None:
    study = create_study(sqlite_store)
    begin_next(Claimant(sqlite_store, study), 0.5)
    log = folder_of(tmp_path, study, 0) / LOG
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\n\x1b[2Jcleared\n")

    async def test() -> None:
        async with watch(sqlite_store, tmp_path) as shown:
            await shown.press("l")
            await shown.shows("log of trial 0 of synthetic", "epoch 1", "\\x1b[2Jcleared")
            with log.open("a") as file:
                file.write("epoch 2\n")
            await shown.shows("epoch 2")
            await shown.press("escape")
            await shown.shows("here:1")

    run(test())


def test_a_deleted_study_is_told_of(sqlite_store: Store, tmp_path: Path) -> None:
    study = create_study(sqlite_store)
    begin_next(Claimant(sqlite_store, study), 0.5)

    async def test() -> None:
        async with watch(sqlite_store, tmp_path, "synthetic") as shown:
            await shown.shows("0.5")
            with sqlite_store.write() as connection:
                delete_rows(connection, study.study_id)
            await shown.shows("nothing new: the store has no study 'synthetic'")
            await shown.press("p")
            await shown.shows("the store has no study 'synthetic'")

    run(test())


def test_a_store_that_is_gone_is_told_of_and_watched_again(own_postgres: PostgresServer, tmp_path: Path) -> None:
    with Store.create(own_postgres.url(own_postgres.create_database())) as store:
        worker = Claimant(store, create_study(store))
        begin_next(worker, 0.5)

        async def test() -> None:
            async with watch(store, tmp_path) as shown:
                await shown.shows("0.5")
                own_postgres.kill()
                await shown.shows("nothing new")
                own_postgres.start()
                await shown.shows("hpo top")
                begin_next(worker, 0.75)
                await shown.shows("0.75")

        run(test())


def test_sixty_columns_have_the_most_important_ones(sqlite_store: Store, tmp_path: Path) -> None:
    begin_next(Claimant(sqlite_store, create_study(sqlite_store)), 0.5, 0.25)

    async def test() -> None:
        async with watch(sqlite_store, tmp_path, size=(60, 24)) as shown:
            await shown.shows("synthetic", "trials", "epoch", "curve", "0.25")

    run(test())


def test_names_do_not_steer_the_terminal(sqlite_store: Store, tmp_path: Path) -> None:
    name = "s[/a][bold]\x1b[2J\u202ex"
    begin_next(Claimant(sqlite_store, create_study(sqlite_store, study="plain")), 0.5)
    with sqlite_store.write() as connection:
        connection.execute(update(studies).values(study_name=name))
        connection.execute(update(hpo_workers).values(host="h[/]\x1b]0;t\x07"))
        connection.execute(update(hpo_attempts).values(device="\x1b[31m[red]"))

    async def test() -> None:
        async with watch(sqlite_store, tmp_path, size=(200, 40)) as shown:
            await shown.shows("s[/a][bold]\\x1b[2J\\u202ex", "h[/]\\x1b]0;t\\x07", "\\x1b[31m[red]")
            assert not any(character in shown.text for character in "\x1b\x07\u202e")

    run(test())


def test_without_a_terminal_it_names_what_to_use_instead(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hpo", "top", "mine", "--store", sqlite_store.url.without_password])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "'hpo top' needs a terminal to draw on. Use 'hpo status mine'" in capsys.readouterr().err


@pytest.mark.needs("tmux")
def test_in_a_real_terminal_it_draws_and_quits(sqlite_store: Store, tmp_path: Path) -> None:
    begin_next(Claimant(sqlite_store, create_study(sqlite_store)), 0.5, 0.25)
    tmux = ["tmux", "-u", "-S", str(tmp_path / "tmux")]
    command = f"{sys.executable} -m hpo top --store {sqlite_store.url.without_password}; echo ended with $?; sleep 60"

    def screen() -> str:
        return subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout

    def wait_for(*texts: str) -> None:
        end = time.monotonic() + SECONDS
        while not all(text in screen() for text in texts):
            assert time.monotonic() < end, screen()
            time.sleep(0.2)

    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", command], check=True)
    try:
        wait_for("hpo top", "synthetic", "0.25", "1/1 busy", "quit")
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        wait_for("ended with 0")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
