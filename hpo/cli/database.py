"""Verbs that serve and prepare a store: dashboard, db init, db upgrade."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import maintain
from hpo.cli.answer import say
from hpo.cli.options import ArtifactsOption, ProjectOption, StoreOption, url_of

db = typer.Typer(help="Create, upgrade, check and back up the store.", no_args_is_help=True)


def dashboard(
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
) -> None:
    """Show the store in a browser with optuna-dashboard, read-only."""
    from hpo.dashboard.server import serve
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    serve(url_of(store, project), host=host, port=port, artifacts=folder)


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
