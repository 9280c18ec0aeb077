"""Optuna's own storage, opened on our store, for operations that only Optuna offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import NullPool

from hpo.store.engine import connect_arguments, connect_sqlite, store_errors
from hpo.store.url import StoreUrl

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

__all__ = ["optuna_storage"]


@contextmanager
def optuna_storage(
    url: StoreUrl, *, create: bool = False, pool_size: int = 1, kind: type[RDBStorage] | None = None
) -> Iterator[RDBStorage]:
    """An open RDBStorage with the same connection settings as ours; imports Optuna, which takes 0.6 s.

    Args:
        url: an existing store.
        create: create Optuna's tables; only `hpo.store.schema` does so, because that needs its lock.
        pool_size: the number of threads that use the storage at once.
        kind: of storage; by default Optuna's own.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    create_storage = RDBStorage if kind is None else kind
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 1}
    if create:
        # if the creation fails there is no storage object, and so no pool that we could close
        options = {"poolclass": NullPool}
    options["hide_parameters"] = True
    if url.is_sqlite:
        # Optuna reads before it writes: IMMEDIATE makes sqlite3 wait for other writers instead of failing
        options["creator"] = lambda: connect_sqlite(url.path, isolation_level="IMMEDIATE")
    else:
        options |= {"connect_args": connect_arguments(url), "pool_pre_ping": True}
    with store_errors(url):
        try:
            storage = create_storage(
                url.reveal(),
                engine_kwargs=options,
                skip_table_creation=not create,
                # done by `check_schema`, whose messages name our own commands
                skip_compatibility_check=True,
            )
        except StorageInternalError as error:
            # its own text guesses 'invalid data in the commit'; its cause is the real error
            raise error.__cause__ or error from None
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
