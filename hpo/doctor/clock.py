"""Clocks and time zones: leases count by the database's clock in UTC, regardless of the machines' clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select, text

from hpo.doctor.finding import CheckContext, Finding
from hpo.store.clock import db_now

TOLERATED_SECONDS = 2.0

_DEFAULT_ZONES = text("""
    SELECT split_part(setting, '=', 2)
    FROM pg_db_role_setting CROSS JOIN LATERAL unnest(setconfig) AS setting
    WHERE lower(split_part(setting, '=', 1)) = 'timezone'
      AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
""")


def check_clock(context: CheckContext) -> Iterator[Finding]:
    """This machine's clock against the database's."""
    with context.store.read() as connection:
        before = time.time()
        database = connection.scalars(select(db_now())).one()
        after = time.time()
    difference = database - (before + after) / 2
    direction = "behind" if difference > 0 else "ahead of"
    # without the network delay, which is at most half of the round trip
    seconds = max(0.0, abs(difference) - (after - before) / 2)
    message = f"this machine's clock is {seconds:.1f} s {direction} the database's"
    remedy = "set the clock (NTP, chrony): leases are safe, but times in tables and logs will not match"
    if seconds > context.store.timing.lease:
        yield Finding("problem", "clock", message, context.host, remedy)
    elif seconds > TOLERATED_SECONDS:
        yield Finding("note", "clock", message, context.host, remedy)
    else:
        zone = datetime.now().astimezone().strftime("UTC%z")
        yield Finding("ok", "clock", f"agrees with the database's; this machine is in {zone}, the store in UTC")


def check_session_zone(context: CheckContext) -> Iterator[Finding]:
    """The time zone of our sessions, and the default one of other programs' sessions; PostgreSQL only."""
    with context.store.read() as connection:
        ours = str(connection.exec_driver_sql("SHOW timezone").scalar())
        others = [str(zone).strip("'\"") for zone in connection.scalars(_DEFAULT_ZONES)]
    if ours not in ("UTC", "Etc/UTC", "GMT"):
        yield Finding(
            "problem",
            "time zone",
            f"sessions of hpo-service have the time zone {ours}, although they ask for UTC",
            remedy="a connection pooler may drop the options of a connection: let it pass 'timezone' on",
        )
    foreign = [zone for zone in others if zone not in ("UTC", "Etc/UTC", "GMT")]
    if foreign:
        yield Finding(
            "note",
            "time zone",
            f"Optuna's own scripts get the time zone {foreign[0]} here, and write their times in it",
            remedy="ALTER DATABASE ... SET timezone = 'UTC', if such scripts share the store",
        )
    if ours in ("UTC", "Etc/UTC", "GMT") and not foreign:
        yield Finding("ok", "time zone", "sessions are in UTC")
