"""A PostgreSQL store's server: whether it has free connections, and accepts writes."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from hpo.doctor.finding import CheckContext, Finding, listed

CONNECTIONS_A_WORKER = 2

_LIMITS = text("""
    SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS server,
           (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()) AS database,
           (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user) AS role
""")
_USED = text("""
    SELECT coalesce(nullif(application_name, ''), 'unnamed') AS application,
           count(*) AS server,
           count(*) FILTER (WHERE datname = current_database()) AS database,
           count(*) FILTER (WHERE usename = current_user) AS role
    FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1 ORDER BY 2 DESC, 1
""")
_STANDING = text("""
    SELECT pg_is_in_recovery() AS is_standby, current_setting('default_transaction_read_only') AS read_only,
           current_setting('server_version') AS version
""")
_WORDS = {"server": "the server", "database": "this database", "role": "this user"}


def check_connections(context: CheckContext) -> Iterator[Finding]:
    """How many more connections the server, the database and the role allow."""
    with context.store.read() as connection:
        limits = connection.execute(_LIMITS).mappings().one()
        used = connection.execute(_USED).mappings().all()
    applications = listed([f"{row['application']} {row['server']}" for row in used])
    for kind, limit in limits.items():
        if limit is None:
            continue
        in_use = sum(row[kind] for row in used)
        message = f"{in_use} of the {limit} connections that {_WORDS[kind]} allows are in use ({applications})"
        left = limit - in_use
        if left < CONNECTIONS_A_WORKER:
            remedy = f"a worker needs {CONNECTIONS_A_WORKER}: raise the limit, end idle programs, or use a pooler"
            yield Finding("problem", "connections", message, kind, remedy)
        elif left < limit / 5:
            remedy = (
                f"there is room for {left // CONNECTIONS_A_WORKER} more workers: raise the limit before adding more"
            )
            yield Finding("note", "connections", message, kind, remedy)
        else:
            yield Finding("ok", "connections", message, kind)


def check_server(context: CheckContext) -> Iterator[Finding]:
    """Whether the server accepts writes."""
    with context.store.engine.connect() as connection:
        row = connection.execute(_STANDING).one()
    if row.is_standby:
        yield Finding(
            "problem", "server", "it is a standby, which accepts no writes", "", "name the primary in --store"
        )
    elif row.read_only == "on":
        remedy = "ALTER DATABASE ... RESET default_transaction_read_only, or the same for the user"
        yield Finding("problem", "server", "transactions are read-only by default here", "", remedy)
    else:
        yield Finding("ok", "server", f"PostgreSQL {row.version}")
