"""Verbs that prepare a store: db init, db upgrade."""

from __future__ import annotations

import typer

from hpo.cli import maintain
from hpo.cli.answer import say
from hpo.cli.options import ProjectOption, StoreOption, url_of

db = typer.Typer(help="Create, upgrade, check and back up the store.", no_args_is_help=True)


@db.command()
def init(store: StoreOption = None, project: ProjectOption = None) -> None:
    """Create the store's tables; existing ones stay as they are."""
    from hpo.store import Store

    with Store.create(url_of(store, project)) as opened:
        say(f"store ready: {opened.url}")


@db.command()
def upgrade(store: StoreOption = None, project: ProjectOption = None) -> None:
    """Upgrade a store of an older version to this version's schema."""
    from hpo.store.schema import upgrade_schema

    url = url_of(store, project)
    upgrade_schema(url)
    say(f"store is up to date: {url}")


db.command()(maintain.check)
db.command()(maintain.backup)
db.command()(maintain.restore)
