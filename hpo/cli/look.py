"""Verbs that read: ls, status, trials, show, best."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.answer import print_json
from hpo.cli.options import (
    ArtifactsOption,
    JsonOption,
    ProjectOption,
    StoreOption,
    StudyName,
    open_to_look,
)

ColumnsOption = Annotated[
    str | None, typer.Option("--columns", metavar="NAME,...", help="Show these columns: --columns number,value,lr.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


def ls(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the studies of the store."""
    from hpo.cli import tables
    from hpo.results.study import list_studies

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = list_studies(opened)
    if as_json:
        print_json([study.to_json() for study in found])
    else:
        tables.show_studies(found)


def status(
    study: StudyName, store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a study's progress, limits, best trial and workers."""
    from hpo.cli import tables
    from hpo.results.study import Study

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = Study(opened, study).status()
    if as_json:
        print_json(found.to_json())
    else:
        tables.show_status(found)


def trials(
    study: StudyName,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    columns: ColumnsOption = None,
    as_csv: CsvOption = False,
) -> None:
    """List all trials of a study, by number."""
    from hpo.cli import tables
    from hpo.cli.columns import show_columns
    from hpo.results.study import Study

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = Study(opened, study).trials(has_curves=False)
    if as_json:
        print_json([record.to_json() for record in found])
    elif as_csv or columns:
        show_columns(found, columns, as_csv=as_csv)
    else:
        tables.show_trials(found)


def show(
    study: StudyName,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")],
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one trial: parameters, curve, attempts, error, the end of its log, and files."""
    from hpo.cli.trial_page import show_trial
    from hpo.service.trial_details import trial_details
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        details = trial_details(opened, study, trial, artifacts=folder)
    if as_json:
        print_json(details.to_json())
    else:
        show_trial(details)


def best(
    study: StudyName,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of trials to show.")] = 5,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    columns: ColumnsOption = None,
    as_csv: CsvOption = False,
) -> None:
    """Show the best trials of a study, with their parameters: complete ones, or the others while there are none."""
    from hpo.cli import tables
    from hpo.cli.columns import show_columns
    from hpo.results.study import Study

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = Study(opened, study).best(k)
    if as_json:
        print_json([record.to_json() for record in found])
    elif as_csv or columns:
        show_columns(found, columns, as_csv=as_csv)
    else:
        tables.show_best(found, study)
