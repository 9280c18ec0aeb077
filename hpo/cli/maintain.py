"""Verbs that maintain a store: doctor, db check, db backup, db restore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import ArtifactsOption, JsonOption, ProjectOption, StoreOption, url_of

if TYPE_CHECKING:
    from hpo.doctor.finding import Finding
    from hpo.store import StoreUrl

BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def doctor(
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Make the repairs that lose no result, and list the changes."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the store and this machine; exit code 1 when there is a problem."""
    from hpo.doctor import examination
    from hpo.settings import artifacts_folder, project_folder

    url = url_of(store, project)
    folder = artifacts_folder(artifacts, project_folder(project))
    changes = examination.repair(url, artifacts=folder) if repair else None
    _answer(url, examination.examine(url, artifacts=folder), changes, as_json=as_json)


def check(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Check the store's integrity, schema and every row; exit code 1 when there is a problem."""
    from hpo.doctor.examination import examine_database

    url = url_of(store, project)
    _answer(url, examine_database(url), None, as_json=as_json)


def backup(
    file: BackupFile,
    store: StoreOption = None,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy the store into a file, also while workers run."""
    from hpo.store.backup import back_up

    url = url_of(store, project)
    made = back_up(url, file, force=force)
    say(f"{made.path}: {made} of {url}")


def restore(
    file: BackupFile,
    store: StoreOption = None,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the store's studies.")] = False,
) -> None:
    """Restore the store from a backup, while no worker runs."""
    from hpo.store.backup import restore as restored

    url = url_of(store, project)
    made, moved = restored(url, file, force=force)
    if moved is not None:
        say(f"the store could not be read; it was moved to {moved}")
    say(f"store restored: {made} in {url}")


def _answer(url: StoreUrl, findings: Sequence[Finding], changes: Sequence[str] | None, *, as_json: bool) -> None:
    is_healthy = all(finding.level != "problem" for finding in findings)
    if as_json:
        document: dict[str, Any] = {
            "store": str(url),
            "healthy": is_healthy,
            "findings": [finding.to_json() for finding in findings],
        }
        print_json(document if changes is None else document | {"changes": list(changes)})
    else:
        _show(url, findings, changes)
    if not is_healthy:
        raise typer.Exit(1)


def _show(url: StoreUrl, findings: Sequence[Finding], changes: Sequence[str] | None) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from hpo.cli.console import Text, console

    out = console()
    styles = {"ok": "green", "note": "magenta", "problem": "bold red"}
    table = Table(box=SIMPLE, pad_edge=False, show_header=False)
    for finding in findings:
        told = Text(f"{finding.where}: " if finding.where and finding.where not in finding.what else "", style="bold")
        told.append(Text(finding.what, style="not bold"))
        if finding.remedy:
            told.append(Text(f"\n-> {finding.remedy}", style="not bold"))
        table.add_row(Text(finding.level, style=styles[finding.level]), finding.about, told)
    out.print(table)
    for change in changes or ():
        out.print(Text(f"changed: {change}"))
    if changes is not None and not changes:
        out.print("nothing was changed")
    problems = sum(finding.level == "problem" for finding in findings)
    notes = sum(finding.level == "note" for finding in findings)
    left = ", ".join(
        f"{count} {word}{'s' if count > 1 else ''}" for count, word in ((problems, "problem"), (notes, "note")) if count
    )
    out.print(Text(f"{left or 'nothing is wrong'}: {url}"))
