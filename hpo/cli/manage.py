"""Verbs that manage studies and their files: enqueue, fork, rename, delete, clean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import confirm, print_json, say
from hpo.cli.options import (
    ArtifactsOption,
    JsonOption,
    ProjectOption,
    StoreOption,
    StudyName,
    open_to_look,
    studies_at,
)
from hpo.errors import RunError, SpecError
from hpo.printable import counted, mebibytes

if TYPE_CHECKING:
    from hpo.service.clean import Cleaned

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def enqueue(
    study: StudyName,
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE ...]", help="One point: lr=1e-3 depth=2; other parameters are sampled."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="POINTS.csv", help="A CSV file: parameter names, then one row a point."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Add trials at points of your own; workers train them before sampled ones."""
    from hpo.service.points import point_of_words, read_points

    if bool(params) == (file is not None):
        raise SpecError("name either a point (lr=1e-3 depth=2) or a file of points (--from points.csv)")
    points = read_points(file) if file is not None else [point_of_words(params or [])]
    with studies_at(store, project) as studies:
        say(studies.enqueue(study, points))


def fork(
    study: StudyName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name of the new study.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A change: --set space.lr.high=0.1 --set epochs=30."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Begin a new study with another space, sampler, pruner or length, and with the trials of a study that fit it."""
    from hpo.service.server import start_server

    server = start_server(store, project, artifacts)
    try:
        from hpo.service.fork import fork_study
        from hpo.settings import artifacts_folder, project_folder

        folder = project_folder(project)
        with open_to_look(store, project) as opened:
            say(
                fork_study(
                    opened,
                    study,
                    new,
                    changes or [],
                    server=server,
                    project=folder,
                    artifacts=artifacts_folder(artifacts, folder),
                )
            )
    finally:
        server.stop()


def rename(
    study: StudyName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Rename a study, with its checkpoints and logs on this machine."""
    from hpo.service.rename import rename_study
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project) as opened:
        say(rename_study(opened, study, new, artifacts=folder))


def delete(
    study: StudyName,
    yes: YesOption = False,
    force: Annotated[bool, typer.Option("--force", help="Delete it even while workers train it.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Delete a study with all its trials, and its checkpoints and logs on this machine."""
    with studies_at(store, project, artifacts) as studies:
        found = studies.belongings(study)
        for name in found.referring:
            say(f"study {name} starts from its weights, and cannot begin more trials without them", err=True)
        for name in found.reruns:
            say(f"study {name}, which trains its best trials again, stays: 'hpo delete {name}'", err=True)
        found_in_words = f"study {study}: {counted(found.trials, 'trial')} and {mebibytes(found.size)} of artifacts"
        if not yes and not _confirms(f"{found_in_words}. Delete them?", f"delete {study}"):
            raise RunError("nothing was deleted")
        deleted = studies.delete(study, force=force)
    say(f"study {study} deleted: {counted(deleted.trials, 'trial')}, {mebibytes(deleted.size)} of artifacts")
    if deleted.problems:
        raise RunError("not all of its artifacts could be removed:\n  " + "\n  ".join(deleted.problems))


def clean(
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the disk space of artifacts on this machine, and remove files that no trial needs.

    It asks before it removes; without a terminal it removes nothing unless --yes is given.
    """
    from hpo.service.clean import clean_artifacts, look_at_artifacts
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project) as opened:
        found = look_at_artifacts(opened, folder)
        if not as_json:
            _show_artifacts(found)
        does = yes and not dry_run
        if found.unneeded_count and not (yes or dry_run or as_json) and sys.stdin.isatty():
            does = confirm(f"Remove {found.unneeded_count} of them ({mebibytes(found.unneeded)})?")
        if does:
            found = clean_artifacts(opened, folder)
    if as_json:
        print_json(found.to_json())
    elif does:
        say(f"removed {mebibytes(found.removed)}")
    elif found.unneeded_count:
        say("nothing was removed: 'hpo clean --yes' does it")
    if found.problems:
        raise RunError("some could not be removed:\n  " + "\n  ".join(found.problems))


def _confirms(question: str, verb: str) -> bool:
    """Whether the person at the terminal agrees.

    Raises:
        SpecError: nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise SpecError(f"{question} Without a terminal, confirm it by --yes: hpo {verb} --yes")
    return confirm(question)


def _show_artifacts(found: Cleaned) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from hpo.cli.console import Text, console

    out = console()
    if not found.uses:
        out.print(Text(f"no study has artifacts in {found.artifacts}"))
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("study", "folder", "size", "not needed"):
        table.add_column(heading, justify="right" if heading in ("size", "not needed") else "left", no_wrap=True)
    for use in found.uses:
        name = Text("unknown", style="magenta") if use.study is None else Text(use.study)
        table.add_row(name, Text(use.folder.name), mebibytes(use.size), mebibytes(use.unneeded))
    out.print(table)
    for use in found.uses:
        for left in use.leftovers if use.kept is None else ():
            path = left.path.relative_to(found.artifacts)
            out.print(Text(f"not needed: {path} ({mebibytes(left.size)}): {left.why}"))
        if use.kept is not None:
            out.print(Text(f"left alone: {use.folder.name}: {use.kept}"))
    out.print(
        Text(f"{mebibytes(found.size)} in {found.artifacts}, of which no trial needs {mebibytes(found.unneeded)}")
    )
