"""The parts of pages that go on by themselves: the same HTML when a page is loaded, and as an event."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from sqlalchemy import select

from hpo.store import Store
from hpo.store.tables import studies, trials
from hpo.web.access import Caller
from hpo.web.ops import addresses
from hpo.web.ops.all_studies import read_studies
from hpo.web.ops.desk import Desk
from hpo.web.ops.events import GoneError
from hpo.web.ops.one_study import read_study
from hpo.web.ops.one_trial import read_trial
from hpo.web.ops.pages import MissingError, html_of
from hpo.web.ops.running import read_workers
from hpo.web.site import Site

WORKERS = "workers"


@dataclass(frozen=True)
class Live:
    """The changing part of a page.

    Attributes:
        key: who watches a page of an equal key sees the same.
        query: of `/ops/events`.
        read: what it shows, from the store.
    """

    key: Hashable
    query: str
    template: str
    read: Callable[[], Any]

    @property
    def events(self) -> str:
        """Where the page hears of what changes."""
        return f"{addresses.ROOT}/events?{self.query}"

    def html(self, view: Any) -> Markup:
        """The part itself."""
        return Markup(html_of(self.template, view=view))  # noqa: S704  # of a template that escapes

    def html_now(self) -> str:
        """The part as it is now, for those who watch it.

        Raises:
            GoneError: there is no such study or trial any more.
        """
        try:
            return self.html(self.read())
        except MissingError as error:
            raise GoneError(f"{error}: it was deleted or renamed") from error


def all_studies(site: Site, desk: Desk, caller: Caller, *, q: str, page: int) -> Live:
    """Of a page of the studies that the caller may see."""
    return Live(
        ("studies", caller.studies, q, page),
        urlencode({"q": q, "page": page}),
        "studies_live.html",
        lambda: read_studies(site.store, desk.reader(site.store), caller.sees, q=q, page=page),
    )


def workers(site: Site, desk: Desk, caller: Caller) -> Live:
    """Of the workers, with the running trials that the caller may see."""
    return Live(
        (WORKERS, caller.studies),
        urlencode({"of": WORKERS}),
        "workers_live.html",
        lambda: read_workers(desk.reader(site.store), caller.sees),
    )


def study(site: Site, desk: Desk, caller: Caller, name: str) -> Live:
    """Of a study's page."""

    def read() -> Any:
        check(site.store, caller, name)
        return read_study(site.store, desk.reader(site.store, name), name)

    return Live(("study", name, caller.sees(name)), urlencode({"study": name}), "study_live.html", read)


def trial(site: Site, caller: Caller, name: str, number: int) -> Live:
    """Of a trial's page."""

    def read() -> Any:
        check(site.store, caller, name, number)
        return read_trial(site.store, name, number, artifacts=site.artifacts)

    query = urlencode({"study": name, "trial": number})
    return Live(("trial", name, number, caller.sees(name)), query, "trial_live.html", read)


def check(store: Store, caller: Caller, name: str, number: int | None = None) -> None:
    """See that there is such a study, or trial, for the caller.

    Raises:
        MissingError: there is none, or the caller may not know of it.
    """
    with store.read() as connection:
        study_id = connection.scalar(select(studies.c.study_id).where(studies.c.study_name == name))
        if study_id is None or not caller.sees(name):
            raise MissingError(f"there is no study '{name}'")
        if number is None:
            return
        wanted = select(trials.c.trial_id).where(trials.c.study_id == study_id, trials.c.number == number)
        if connection.scalar(wanted) is None:
            raise MissingError(f"study '{name}' has no trial {number}")
