"""`hpo db upgrade` from every earlier schema: our revisions, Optuna's, and stores of earlier releases.

tests/data/stores/NNNN.db is a store with studies, saved by the release whose schema was NNNN: it is to be added when
the next revision is written, before its first release.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from projects.stored import add_trial
from projects.synthetic import create_study
from sqlalchemy import Engine, create_engine, inspect, select

from hpo.doctor.examination import examine_database
from hpo.errors import StoreError
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.store import Store, StoreUrl, schema
from hpo.store.engine import connect_sqlite
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_trials
from hpo.study.states import AttemptEnd, Request

SAVED = sorted((Path(__file__).parents[1] / "data" / "stores").glob("*.db"))
MIGRATIONS = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
REVISIONS = [script.revision for script in MIGRATIONS.walk_revisions()][::-1]
RDB = Path(optuna.storages.__file__).parent / "_rdb"
OPTUNA_REVISIONS = [s.revision for s in ScriptDirectory(str(RDB / "alembic")).walk_revisions()][::-1]


def migrate_to(engine: Engine, revision: str) -> None:
    """Our tables, as the release with this revision made them."""
    config = Config()
    config.set_main_option("script_location", MIGRATIONS.dir)
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "version_table": schema.VERSION_TABLE}
        command.upgrade(config, revision)


def wrong(url: StoreUrl) -> list[str]:
    return [finding.what for finding in examine_database(url) if finding.level == "problem"]


def test_each_earlier_revision_has_a_saved_store() -> None:
    assert [path.stem for path in SAVED] == REVISIONS[:-1]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_any_revision_is_upgraded_and_keeps_its_rows(revision: str, store_url: str) -> None:
    url = StoreUrl.parse(store_url)
    if url.is_sqlite:
        url.path.touch()
    with optuna_storage(url, create=True) as storage:
        optuna.create_study(study_name="kept", storage=storage).enqueue_trial({"x": 1})
    engine = create_engine(url.reveal())
    migrate_to(engine, revision)
    engine.dispose()

    schema.upgrade_schema(url)

    assert wrong(url) == []
    with Store.open(url) as store:
        assert [study.study for study in list_studies(store)] == ["kept"]
        add_trial(store, create_study(store))
        assert Study(store, "synthetic").trials()[0].value == 0.5
    schema.upgrade_schema(url)  # again changes nothing
    assert wrong(url) == []


@pytest.mark.parametrize("saved", [path.stem for path in SAVED] or ["head"])
def test_a_saved_store_is_upgraded_with_all_its_rows(saved: str, tmp_path: Path) -> None:
    url = StoreUrl.parse("hpo.db", base=tmp_path)
    if saved == "head":  # until there is an earlier one, a store of today stands for it
        with Store.create(url) as store:
            add_trial(store, create_study(store))
    else:
        shutil.copy(SAVED[0].with_name(f"{saved}.db"), url.path)
    with closing(connect_sqlite(url.path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        before = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables}

    schema.upgrade_schema(url)

    with closing(connect_sqlite(url.path)) as connection:
        after = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in before}
    assert after == before
    assert before["trials"][0] > 0
    assert wrong(url) == []


@pytest.mark.parametrize("revision", [name for name in OPTUNA_REVISIONS if name >= "v2.6"])
def test_a_store_of_an_older_optuna_is_upgraded(revision: str, tmp_path: Path) -> None:
    url = StoreUrl.parse("hpo.db", base=tmp_path)
    url.path.touch()
    config = Config(str(RDB / "alembic.ini"))
    config.set_main_option("script_location", str(RDB / "alembic"))
    config.set_main_option("sqlalchemy.url", url.reveal())
    with schema._unchanged_logging():
        command.upgrade(config, revision)

    with pytest.raises(StoreError, match="holds Optuna studies"):
        Store.open(url)
    schema.upgrade_schema(url)

    assert wrong(url) == []
    with Store.open(url) as store:
        assert set(inspect(store.engine).get_table_names()) >= {"trial_values", "hpo_trials"}
        add_trial(store, create_study(store))


def test_an_unknown_revision_is_refused_with_a_reason(store: Store) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0000'")

    with pytest.raises(StoreError, match=r"schema 0000, which no release of hpo-service wrote: restore a backup"):
        schema.upgrade_schema(store.url)


def test_what_the_first_schema_called_held_is_paused_at_a_rung_or_idle(tmp_path: Path) -> None:
    url = StoreUrl.parse("hpo.db", base=tmp_path)
    shutil.copy(SAVED[0], url.path)

    schema.upgrade_schema(url)

    with Store.open(url) as store:
        study = Study(store, "synthetic")
        states = [(record.state, record.causes[-1]) for record in study.trials()[3:]]
        assert states == [("paused", "paused at a rung")] * 2 + [("idle", "preempted: by its worker")]
        assert (study.status().counts["paused"], study.status().counts["idle"]) == (2, 1)
        with store.read() as connection:
            ends = connection.execute(select(hpo_attempts.c.kind).distinct()).scalars()
            requests = connection.execute(select(hpo_trials.c.request).distinct()).scalars()
            assert set(ends) <= set(AttemptEnd)
            assert set(requests) - {None} == {Request.AWAIT_PROMOTION, Request.PAUSE}


def test_an_upgraded_sqlite_store_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    old, new = (StoreUrl.parse(f"{name}.db", base=tmp_path) for name in ("old", "new"))
    shutil.copy(SAVED[0], old.path)
    schema.upgrade_schema(old)
    Store.create(new).close()

    assert layout(old.path) == layout(new.path)


def layout(file: Path) -> dict[str, object]:
    """Columns, indexes and triggers of our tables, and which count their keys forever."""
    with closing(connect_sqlite(file)) as connection:
        entries = connection.execute(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE tbl_name LIKE 'hpo%' OR name LIKE 'hpo%' ORDER BY 2"
        ).fetchall()
        tables = [name for kind, name, _ in entries if kind == "table"]
        columns = {name: sorted(connection.execute(f"PRAGMA table_info({name})").fetchall()[:]) for name in tables}
        counting = {
            name: "AUTOINCREMENT"
            in connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
            for name in tables
        }
    names = {name: sorted(column[1:4] for column in found) for name, found in columns.items()}
    return {"entries": entries, "columns": names, "counting": counting}
