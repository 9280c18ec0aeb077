"""The database's clock: the only one that all workers share, so it times leases, heartbeats and ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

__all__ = ["db_now", "db_utc"]


class db_now(FunctionElement[float]):  # noqa: N801 (it is used as a function of SQL, like sqlalchemy.func.now)
    """Seconds since 1970 in UTC by the database's clock, at the moment when the statement runs.

    SQLite's clock has a resolution of 1 ms, PostgreSQL's of 1 us.
    """

    inherit_cache = True
    type = Double()


# as a double, a Julian day of today has a resolution of 40 us; 2440587.5 is 1970-01-01 00:00 UTC
@compiles(db_now, "sqlite")
def _sqlite(element: db_now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


# now() would be the start of the transaction, which may have waited long for a lock
@compiles(db_now, "postgresql")
def _postgresql(element: db_now, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


class db_utc(FunctionElement[datetime]):  # noqa: N801
    """The same moment as stored in Optuna's tables: a naive date and time in UTC."""

    inherit_cache = True
    type = DateTime()


@compiles(db_utc, "sqlite")
def _sqlite_utc(element: db_utc, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"  # %f: seconds with three decimals


@compiles(db_utc, "postgresql")
def _postgresql_utc(element: db_utc, compiler: Any, **options: Any) -> str:
    return "CAST(clock_timestamp() AT TIME ZONE 'UTC' AS TIMESTAMP WITHOUT TIME ZONE)"
