"""Those who watch a page share what is read of the store, and their number is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import StoreError
from hpo.service.delete import delete_study
from hpo.store import Store
from hpo.web.callers import ANONYMOUS
from hpo.web.ops import live
from hpo.web.ops.desk import Desk
from hpo.web.ops.events import Feeds, GoneError, TooManyError
from hpo.web.site import Site

SECONDS = 0.05


async def events(told: AsyncGenerator[str, None], number: int) -> list[tuple[str, str]]:
    """(kind, data) of the next events."""
    found: list[tuple[str, str]] = []
    async for text in told:
        if text.startswith("event: "):
            kind, _, data = text.removeprefix("event: ").partition("\ndata: ")
            assert data.endswith("\n\n")
            found.append((kind, json.loads(data)))
        if len(found) == number:
            break
    return found


def counting() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"reading\n{next(numbers)}"


def test_all_who_watch_a_page_share_its_readings() -> None:
    async def watch() -> list[list[tuple[str, str]]]:
        feeds, read = Feeds(interval_seconds=SECONDS), counting()
        return await asyncio.gather(*(events(feeds.listen("page", read), 3) for _ in range(20)))

    heard = asyncio.run(watch())

    assert heard == [[("update", "reading\n1"), ("update", "reading\n2"), ("update", "reading\n3")]] * 20


def test_nothing_is_read_when_nobody_watches() -> None:
    async def watch() -> tuple[int, int]:
        feeds, read = Feeds(interval_seconds=SECONDS), counting()
        told = feeds.listen("page", read)
        await events(told, 1)
        await told.aclose()
        before = int(read().split()[1])
        await asyncio.sleep(10 * SECONDS)
        return before, int(read().split()[1])

    before, after = asyncio.run(watch())

    assert after == before + 1


def test_an_unchanged_page_sends_only_a_sign_of_life() -> None:
    async def watch() -> list[str]:
        feeds = Feeds(interval_seconds=SECONDS, heartbeat_seconds=20 * SECONDS)
        told = feeds.listen("page", lambda: "the same")
        return [await anext(told) for _ in range(4)]

    heard = asyncio.run(watch())

    assert heard == ["retry: 3000\n\n", 'event: update\ndata: "the same"\n\n', ": still here\n\n", ": still here\n\n"]


def test_no_more_may_listen_than_are_allowed() -> None:
    async def watch() -> None:
        feeds = Feeds(interval_seconds=SECONDS, most=2)
        told = [feeds.listen(key, lambda: "x") for key in "ab"]
        for one in told:
            await events(one, 1)
        with pytest.raises(TooManyError):
            feeds.listen("c", lambda: "x")
        await told[0].aclose()
        assert await events(feeds.listen("c", lambda: "x"), 1) == [("update", "x")]

    asyncio.run(watch())


def test_a_server_that_is_to_end_waits_for_nobody() -> None:
    async def watch() -> list[tuple[str, str]]:
        feeds = Feeds(interval_seconds=SECONDS)
        told = feeds.listen("page", lambda: "x")
        heard = await events(told, 1)
        asyncio.get_running_loop().call_later(SECONDS, feeds.end)
        async with asyncio.timeout(60):
            return heard + await events(told, 9)

    assert asyncio.run(watch()) == [("update", "x")]


def test_a_store_that_fails_is_said_and_read_again() -> None:
    readings: Iterator[str | Exception] = iter(
        [StoreError("the store cannot be reached"), "back", GoneError("there is no study 'x'")]
    )

    def read() -> str:
        found = next(readings)
        if isinstance(found, Exception):
            raise found
        return found

    heard = asyncio.run(events(Feeds(interval_seconds=SECONDS).listen("page", read), 9))

    assert heard == [
        ("problem", "the store cannot be reached"),
        ("update", "back"),
        ("gone", "there is no study 'x'"),  # and it ends
    ]


def test_a_study_that_is_deleted_while_it_is_watched_is_said(sqlite_store: Store, tmp_path: Path) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    claim = begin_next(worker, 0.25)
    site = Site(sqlite_store.url, tmp_path, tmp_path)
    shown = live.study(site, Desk(), ANONYMOUS, "synthetic")

    async def watch() -> list[tuple[str, str]]:
        told = Feeds(interval_seconds=SECONDS).listen(shown.key, shown.html_now)
        first = await events(told, 1)
        worker.finish(claim, 0.375)
        second = await events(told, 1)
        delete_study(sqlite_store, "synthetic", artifacts=tmp_path)
        return [*first, *second, *await events(told, 1)]

    with contextlib.closing(site):
        first, second, last = asyncio.run(watch())

    assert "0.25" in first[1]
    assert "0.375" in second[1]
    assert last == ("gone", "there is no study 'synthetic': it was deleted or renamed")
