"""Deleting a study: its rows in all tables, Optuna's and ours."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, column, delete, func, inspect, select, table

from hpo.store.tables import hpo_attempts, studies, trials


def delete_rows(connection: Connection, study_id: int) -> int:
    """Delete a study that the transaction has locked; how many trials went.

    Workers that train it meanwhile find their leases gone, and drop their results.
    """
    mine = select(trials.c.trial_id).where(trials.c.study_id == study_id)
    # Attempts before trials, as workers write them; then nobody can add a row to a trial until it is gone.
    connection.execute(
        select(hpo_attempts.c.attempt_id)
        .where(hpo_attempts.c.trial_id.in_(mine))
        .order_by(hpo_attempts.c.attempt_id)
        .with_for_update()
    )
    connection.execute(mine.order_by(trials.c.trial_id).with_for_update())
    count = connection.scalar(select(func.count()).where(trials.c.study_id == study_id)) or 0
    referring_tables = references(connection)
    for name, key in referring_tables["trials"]:
        referring = table(name, column(key))
        connection.execute(delete(referring).where(referring.c[key].in_(mine)))
    for name, key in referring_tables["studies"]:
        if name != trials.name:
            referring = table(name, column(key))
            connection.execute(delete(referring).where(referring.c[key] == study_id))
    connection.execute(delete(trials).where(trials.c.study_id == study_id))
    connection.execute(delete(studies).where(studies.c.study_id == study_id))
    return count


def references(connection: Connection) -> dict[str, list[tuple[str, str]]]:
    """By the table that is referred to, (table, column) of all that refer to it.

    Read from the database: Optuna has tables that we never read, and a later release may have more.
    """
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (_, name), keys in inspect(connection).get_multi_foreign_keys().items():
        for key in keys:
            if len(key["constrained_columns"]) == 1:
                found[key["referred_table"]].append((name, key["constrained_columns"][0]))
    return found
