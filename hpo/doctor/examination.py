"""The doctor: runs the checks on a store and this machine, and makes the repairs that lose no data."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hpo.doctor.checkpoints import check_checkpoints, check_leftovers
from hpo.doctor.clock import check_clock, check_session_zone
from hpo.doctor.finding import Check, CheckContext, Finding
from hpo.doctor.leases import check_leases, check_workers
from hpo.doctor.machine import check_devices, check_packages
from hpo.doctor.notifications import check_notifications
from hpo.doctor.postgresql import check_connections, check_server
from hpo.doctor.rows import check_rows
from hpo.doctor.schema import check_tables, check_versions
from hpo.doctor.sqlite import check_integrity, check_journal, check_place, check_triggers
from hpo.doctor.studies import check_studies
from hpo.errors import HpoError, StoreError
from hpo.store import Store, StoreUrl
from hpo.store.engine import open_engine, store_errors

# a repair can uncover work for another: a closed lease leaves a trial that belongs to an ended study
_ROUNDS = 4


def examine(url: StoreUrl, *, artifacts: Path) -> list[Finding]:
    """All findings about this machine and the store; changes nothing."""
    return [*check_packages(), *check_devices(), *_examine_store(url, artifacts, everything=True)]


def examine_database(url: StoreUrl) -> list[Finding]:
    """The store alone: integrity, schema, and rows that can be read; changes nothing."""
    return list(_examine_store(url, Path(), everything=False))


def repair(url: StoreUrl, *, artifacts: Path) -> list[str]:
    """Make all safe repairs; the changes, in words. No result is ever deleted; repeating it changes nothing.

    Raises:
        StoreError: the store cannot be written.
    """
    changes: list[str] = []
    for _ in range(_ROUNDS):
        found = _examine_store(url, artifacts, everything=True)
        repairs = [finding.repair for finding in found if finding.repair is not None]
        if not repairs:
            break
        with store_errors(url), Store(url, open_engine(url)) as store:
            done = [change for repair_one in repairs if (change := repair_one(store)) is not None]
        if not done:
            break
        changes += done
    return changes


def _examine_store(url: StoreUrl, artifacts: Path, *, everything: bool) -> Iterator[Finding]:
    try:
        engine = open_engine(url)
    except StoreError as error:
        remedy = "restore a backup: hpo db restore FILE --force" if "malformed" in str(error) else ""
        yield Finding("problem", "store", str(error), remedy=remedy)
        return
    with Store(url, engine) as store:
        context = CheckContext(store, artifacts, platform.node())
        findings = list(_run([check_versions], context))
        yield from findings
        if any(finding.level == "problem" for finding in findings):
            if url.is_sqlite and url.path.exists():
                yield from _run([check_integrity], context)
            return
        if url.is_sqlite:
            integrity = list(_run([check_integrity], context))
            yield from integrity
            if any(finding.level == "problem" and finding.where == str(url.path) for finding in integrity):
                return  # further findings from a damaged file cannot be trusted, nor can it be repaired
        yield from _run([check_tables, check_rows, check_studies], context)
        if everything:
            yield from _run(_service_checks(url), context)


def _service_checks(url: StoreUrl) -> Sequence[Check]:
    if url.is_sqlite:
        own: list[Check] = [check_journal, check_triggers, check_place, check_clock]
    else:
        own = [check_server, check_connections, check_clock, check_session_zone]
    return [*own, check_leases, check_workers, check_notifications, check_checkpoints, check_leftovers]


def _run(checks: Sequence[Check], context: CheckContext) -> Iterator[Finding]:
    for check in checks:
        subject = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            yield from check(context)
        except (SQLAlchemyError, sqlite3.Error, HpoError, LookupError, UnicodeError, OSError) as error:
            original = getattr(error, "orig", None) or error
            reason = " ".join(str(original).split())
            password = context.store.url.password
            if password is not None and password in reason:
                reason = type(original).__name__
            yield Finding(
                "problem",
                subject,
                f"could not be checked: {reason}",
                context.store.url.place,
                "an earlier finding may be the cause; if not, restore a backup",
            )
