"""A study as one file: it is exported as an archive, and imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.options import ArtifactsOption, ProjectOption, StoreOption, open_to_look, url_of

if TYPE_CHECKING:
    from rich.progress import Progress

    from hpo.cli.console import Console

SHOWN_FROM = 64 << 20  # bytes: fewer are copied before a person looks for progress


def export_archive(
    study: str, out: Path | None, *, force: bool, store: str | None, project: Path | None, artifacts: Path | None
) -> None:
    """Write a study with its trials, curves, attempts and kept checkpoints into one file, also while workers run."""
    from hpo.service.archive import archive_study
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project) as opened, _progress("writing") as on_bytes:
        archived = archive_study(opened, study, out, artifacts=folder, force=force, on_bytes=on_bytes)
    say(archived)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive of a study.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NEW", help="Another name for the study (default: the archive's).")
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Read a study from an archive into a store, SQLite or PostgreSQL: completely, or not at all."""
    from hpo.archive.reading import open_archive
    from hpo.service.archive import import_archive
    from hpo.settings import artifacts_folder, project_folder
    from hpo.store import Store

    folder = artifacts_folder(artifacts, project_folder(project))
    url = url_of(store, project)
    with open_archive(file):  # a store is created only for an archive
        pass
    with Store.create(url) as opened, _progress("reading") as on_bytes:
        imported = import_archive(opened, file, name=name, artifacts=folder, on_bytes=on_bytes)
    say(imported)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """On a terminal, a bar of the bytes that are copied, on stderr; it is drawn only where there are many."""
    from hpo.cli.console import Console

    out = Console(stderr=True)
    with ExitStack() as stack:
        bars: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not out.is_terminal or total < SHOWN_FROM:
                return
            if not bars:
                bars.append(stack.enter_context(_bar(what, out, total)))
            bars[0].update(bars[0].task_ids[0], completed=done)

        yield show


def _bar(what: str, out: Console, total: int) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=out, transient=True)
    bar.add_task(what, total=total)
    return bar
