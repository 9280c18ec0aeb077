"""Creating, recognising and migrating a store's tables."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages import RDBStorage
from sqlalchemy.schema import SchemaItem

from hpo.errors import StoreError
from hpo.store import Store, StoreUrl, schema
from hpo.store.engine import connect_sqlite
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_metadata


def migrations() -> ScriptDirectory:
    return ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))


def optuna_script(url: str) -> None:
    """Somebody else's script with a trial in it."""
    storage = RDBStorage(StoreUrl.parse(url).reveal())
    optuna.create_study(study_name="theirs", storage=storage).enqueue_trial({"x": 1})
    storage.remove_session()
    storage.engine.dispose()


def set_revision(store: Store, table: str, revision: str) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET version_num = '{revision}'")


def test_the_revisions_that_are_written_down_are_the_newest() -> None:
    scripts = migrations()
    numbers = [script.revision for script in scripts.walk_revisions()][::-1]

    assert scripts.get_current_head() == schema.REVISION
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_the_revision_of_optuna_that_is_written_down_is_the_newest(store: Store) -> None:
    with optuna_storage(store.url) as storage:
        assert storage.get_head_version() == schema.OPTUNA_REVISION
        assert storage.get_current_version() == schema.OPTUNA_REVISION


def test_the_migrations_make_exactly_the_tables_that_the_code_describes(store: Store) -> None:
    def is_ours(item: SchemaItem, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or (str(name).startswith("hpo_") and name != schema.VERSION_TABLE)

    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "include_object": is_ours,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        differences = compare_metadata(context, hpo_metadata)

    assert differences == []


def test_migrated_columns_have_the_properties_that_comparing_overlooks(store: Store) -> None:
    names = sorted(hpo_metadata.tables)

    def keys(inspector: sa.Inspector) -> list[object]:
        return [
            (
                name,
                inspector.get_pk_constraint(name)["constrained_columns"],
                [column["nullable"] for column in inspector.get_columns(name)],
                sorted(
                    (key["constrained_columns"], key["referred_table"], str(key["options"]))
                    for key in inspector.get_foreign_keys(name)
                ),
            )
            for name in names
        ]

    migrated = keys(sa.inspect(store.engine))
    with store.write() as connection:
        hpo_metadata.drop_all(connection)
        hpo_metadata.create_all(connection)

    assert keys(sa.inspect(store.engine)) == migrated


def test_creating_twice_changes_nothing(store: Store) -> None:
    with Store.create(store.url) as again, again.write() as connection:
        connection.exec_driver_sql("INSERT INTO studies (study_name) VALUES ('kept')")

    schema.create_schema(store.url)

    with Store.open(store.url) as again, again.read() as connection:
        assert connection.exec_driver_sql("SELECT study_name FROM studies").scalars().all() == ["kept"]


def test_reading_creates_nothing(store_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store .*hpo run.*hpo db init"):
        Store.open(store_url)
    with pytest.raises(StoreError, match="there is no store"):
        schema.upgrade_schema(StoreUrl.parse(store_url))

    assert list(tmp_path.iterdir()) == []


def test_no_lock_file_stays_behind(sqlite_url: str, tmp_path: Path) -> None:
    Store.create(sqlite_url).close()

    assert [path.name for path in tmp_path.iterdir()] == ["hpo.db"]


def test_an_empty_file_becomes_a_store_with_a_warning(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hpo.db").touch()

    with pytest.raises(StoreError, match="there is no store"):
        Store.open(sqlite_url)
    assert (tmp_path / "hpo.db").stat().st_size == 0
    with caplog.at_level(logging.WARNING):
        Store.create(sqlite_url).close()

    assert "is an empty file" in caplog.text
    Store.open(sqlite_url).close()


def test_a_new_store_comes_without_a_warning(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Store.create(store_url).close()

    assert caplog.records == []


def test_the_store_of_an_optuna_script_gets_our_tables(store_url: str) -> None:
    optuna_script(store_url)

    with pytest.raises(StoreError, match=r"holds Optuna studies.*hpo db init"):
        Store.open(store_url)
    with Store.create(store_url) as store, store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM hpo_trials").scalar() == 0


def test_a_creation_that_was_cut_short_is_completed(sqlite_url: str, tmp_path: Path) -> None:
    optuna_script(sqlite_url)
    with closing(connect_sqlite(tmp_path / "hpo.db")) as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE trial_values")

    Store.create(sqlite_url).close()

    Store.open(sqlite_url).close()


def test_a_backup_is_put_back_into_write_ahead_mode(sqlite_url: str, tmp_path: Path) -> None:
    with Store.create(sqlite_url) as store, closing(connect_sqlite(store.url.path)) as connection:
        connection.execute(f"VACUUM INTO '{tmp_path}/backup.db'")

    with Store.create("backup.db", base=tmp_path) as store, store.read() as reader:
        assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("verb", [Store.create, Store.open])
@pytest.mark.parametrize(
    ("table", "revision", "words"),
    [
        ("hpo_alembic_version", "0000", "older schema 0000.*hpo db upgrade"),
        ("hpo_alembic_version", "9999", "newer hpo-service.*pip install -U hpo-service"),
        ("alembic_version", "v3.0.0.d", "Optuna's older schema.*hpo db upgrade"),
        ("alembic_version", "v9.0.0.a", "newer Optuna.*pip install -U optuna"),
    ],
)
def test_another_schema_is_refused_with_a_remedy(
    verb: Callable[[StoreUrl], Store], table: str, revision: str, words: str, store: Store
) -> None:
    set_revision(store, table, revision)

    with pytest.raises(StoreError, match=words):
        verb(store.url)


@pytest.mark.parametrize(("table", "revision"), [("hpo_alembic_version", "9999"), ("alembic_version", "v9.0.0.a")])
def test_a_newer_store_is_not_upgraded(table: str, revision: str, store: Store) -> None:
    set_revision(store, table, revision)

    with pytest.raises(StoreError, match="newer"):
        schema.upgrade_schema(store.url)


def test_an_older_store_of_optuna_is_upgraded(store_url: str) -> None:
    optuna_script(store_url)
    with Store.create(store_url) as store:
        with store.write() as connection:
            # what the newest of Optuna's migrations makes
            connection.exec_driver_sql("DROP INDEX IF EXISTS trials_study_id_key")
        set_revision(store, "alembic_version", "v3.0.0.d")
        handlers = list(logging.getLogger().handlers)

        schema.upgrade_schema(store.url)

    assert logging.getLogger().handlers == handlers
    with Store.open(store_url) as store, store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 1


def test_triggers_that_a_migration_lost_come_back_with_the_next(sqlite_url: str) -> None:
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
    with Store.create(sqlite_url) as store:
        with store.write() as connection:
            assert connection.exec_driver_sql(count).scalar() == 2
            connection.exec_driver_sql("DROP TRIGGER hpo_trial_deleted")

        schema.upgrade_schema(store.url)

        with store.read() as connection:
            assert connection.exec_driver_sql(count).scalar() == 2


def test_opening_a_ready_store_imports_neither_optuna_nor_alembic_nor_torch(store: Store) -> None:
    script = (
        "import sys; from hpo.store import Store\n"
        "Store.open(sys.argv[1]).close(); Store.create(sys.argv[1]).close()\n"
        "print(sorted({'optuna', 'alembic', 'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", script, store.url.reveal()], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"
