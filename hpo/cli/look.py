"""Verbs that read: ls, status, trials, best, show, diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import print_json, print_json_lines
from hpo.cli.options import (
    ArtifactsOption,
    JsonOption,
    OtherStudyName,
    ProjectOption,
    StoreOption,
    StudyName,
    open_to_look,
    studies_at,
)

if TYPE_CHECKING:
    from hpo.results.query import Table

ColumnsOption = Annotated[
    str | None, typer.Option("--columns", metavar="NAME,...", help="Show these columns: --columns number,value,lr.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="Of these trials: --where \"optimizer == 'adam' and seconds < 60\"."),
]
SortOption = Annotated[
    str | None,
    typer.Option("--sort", metavar="NAME,...", help="Sort by these columns: --sort optimizer,-value; - descends."),
]


def ls(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the studies of the store."""
    from hpo.cli import tables

    with studies_at(store, project, is_foreign_allowed=True) as studies:
        found = studies.overview()
    if as_json:
        print_json([study.to_json() for study in found])
    else:
        tables.show_studies(found)


def status(
    study: StudyName, store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a study's progress, limits, best trial, time left, workers, and what their slots do; or why none does."""
    from hpo.cli.status_page import show_status

    with studies_at(store, project, is_foreign_allowed=True) as studies:
        found, kept = studies.status(study)
        live = studies.live(study)
    if as_json:
        plain = live.to_json()
        print_json(
            found.to_json() | {"seconds_left": plain["studies"][0]["seconds_left"], "running_trials": plain["trials"]}
        )
    else:
        show_status(found, kept, live)


def trials(
    study: StudyName,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    columns: ColumnsOption = None,
    as_csv: CsvOption = False,
    where: WhereOption = None,
    sort: SortOption = None,
) -> None:
    """List the trials of a study: all by number, or those of --where in the order of --sort."""
    from hpo.cli import tables
    from hpo.results.query import Query

    query = Query.of(where, sort, columns=columns, dashes="--")
    with studies_at(store, project, is_foreign_allowed=True) as studies:
        if as_csv or columns:
            _show_table(studies.table(study, query, None, is_of_best=False), as_csv=as_csv, as_json=as_json)
            return
        records = studies.trials(study, query)
    if as_json:
        print_json_lines(record.to_json() for record in records)
    else:
        tables.show_trials(records, study, is_narrowed=where is not None)


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

    with studies_at(store, project, artifacts, is_foreign_allowed=True) as studies:
        details = studies.details(study, trial)
    if as_json:
        print_json(details.to_json())
    else:
        show_trial(details)


def best(
    study: StudyName,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="Number of trials (default: 5; 1 of each value of --by; a whole front)."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    columns: ColumnsOption = None,
    as_csv: CsvOption = False,
    where: WhereOption = None,
    sort: SortOption = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="NAME,...",
            help="The best for each value of these columns: --by optimizer; --by expected ranks without luck.",
        ),
    ] = None,
) -> None:
    """Show the best trials of a study: complete ones, or the others while there are none; of several objectives, those
    that no other trial beats in all of them."""
    from hpo.cli import tables
    from hpo.results.query import Query

    query = Query.of(where, sort, columns=columns, by=by, dashes="--")
    with studies_at(store, project, is_foreign_allowed=True) as studies:
        if as_csv or columns:
            _show_table(studies.table(study, query, k, is_of_best=True), as_csv=as_csv, as_json=as_json)
            return
        found = studies.best(study, query, k)
    if as_json:
        print_json([record.to_json() for record in found.trials])
    else:
        tables.show_best(
            found.trials,
            study,
            objectives=found.objectives,
            is_narrowed=where is not None,
            are_infeasible=found.are_infeasible,
        )


def diff(
    study: StudyName,
    other: OtherStudyName,
    store: StoreOption = None,
    project: ProjectOption = None,
    other_store: Annotated[
        str | None, typer.Option("--other-store", metavar="URL", help="URL of the other's store (default: the same).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two studies: what differs in file, search space, data and code, and what came out."""
    from hpo.cli.comparison import show_differences
    from hpo.results.study import Study

    with (
        open_to_look(store, project, is_foreign_allowed=True) as opened,
        open_to_look(other_store or store, project, is_foreign_allowed=True) as also_opened,
    ):
        found = Study(opened, study).diff(Study(also_opened, other))
    if as_json:
        print_json(found.to_json())
    else:
        show_differences(found)


def _show_table(table: Table, *, as_csv: bool, as_json: bool) -> None:
    from hpo.cli.columns import print_csv, print_json_rows, show_columns

    if as_json:
        print_json_rows(table)
    elif as_csv:
        print_csv(table)
    else:
        show_columns(table)
