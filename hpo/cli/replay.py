"""The verb that trains a trial again, and compares: replay."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import JsonOption, ProjectOption, StoreOption, StudyName, open_to_look
from hpo.service.server import start_server


def replay(
    study: StudyName,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")],
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Train only the first so many epochs, or steps (default: all of them)."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a trial again, outside of its study, and compare every metric and the weights, bit by bit.

    Exits with 0 where all is equal, with 1 where something differs or the training fails now, and with 2 after a
    mistake.
    """
    server = start_server(store, project)
    try:
        from hpo.service.replay_stored import replay_stored, replayable
        from hpo.settings import project_folder

        folder = project_folder(project)
        with open_to_look(store, project, is_foreign_allowed=True) as opened:
            replayable(opened, study, trial)  # what is refused shows no progress
            with _progress() as on_epoch:
                found = replay_stored(
                    opened, study, trial, epochs=epochs, server=server, project=folder, on_epoch=on_epoch
                )
    finally:
        server.stop()
    if as_json:
        print_json(found.to_json())
    else:
        say(found)
    if not found.is_equal:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A line on the terminal's stderr with the epochs that are done; nothing where there is none."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from hpo.cli.console import Console

    out = Console(stderr=True)
    if not out.is_terminal:
        yield lambda epoch, last: None
        return
    described = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1))
    with Progress(SpinnerColumn(), described, TimeElapsedColumn(), console=out, transient=True) as progress:
        task = progress.add_task("importing torch and the study's classes", total=None)
        yield lambda epoch, last: progress.update(task, description=f"trained {epoch:,} of {last:,}")
