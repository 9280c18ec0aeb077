"""Notifications that were given up, or that nobody sends."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from hpo.doctor.finding import CheckContext, Finding
from hpo.printable import counted
from hpo.queue.told import told_of
from hpo.store.tables import studies

LONG_SECONDS = 3600.0  # the last try comes half an hour after the first


def check_notifications(context: CheckContext) -> Iterator[Finding]:
    """Of each study: what was given up, and what has waited for longer than all tries take."""
    with context.store.read() as connection:
        told = told_of(connection)
        named = connection.execute(select(studies.c.study_id, studies.c.study_name))
        names = {study_id: name for study_id, name in named}
    is_well = True
    for study_id, its in told.items():
        name = names.get(study_id, "")
        why = "" if its.error is None else f": {its.error.splitlines()[0]}"
        if its.given_up:
            is_well = False
            what = f"{counted(its.given_up, 'notification')} {_were(its.given_up)} given up, undelivered{why}"
            yield Finding("note", "notifications", what, name, f"hpo notify test {name} tries its targets")
        elif its.waiting and its.oldest > LONG_SECONDS:
            is_well = False
            what = f"{counted(its.waiting, 'notification')} {_were(its.waiting)} not sent, for want of a worker{why}"
            yield Finding("note", "notifications", what, name, "start a worker, or send them: hpo notify send")
    if is_well:
        sent = sum(its.sent for its in told.values())
        yield Finding("ok", "notifications", f"{sent:,} sent, none given up")


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
