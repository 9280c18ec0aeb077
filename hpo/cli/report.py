"""Verbs that tell of a whole study: report, importance."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import JsonOption, ProjectOption, StoreOption, StudyName, open_to_look

STDOUT = "-"


def report(
    study: StudyName,
    format: Annotated[
        str | None, typer.Option("--format", metavar="html|md", help="A page, which is the default, or Markdown.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="FILE", help="The file, by default STUDY-report.html; - prints it."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Write one page about a study: how good its model is, how it was found, and how to find it again."""
    from hpo.report.writing import format_of, report_file, report_text, write_whole

    target = None if out == STDOUT else out
    chosen = format_of(format, target)
    path = None if out == STDOUT else report_file(target, study, chosen)
    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        text = report_text(opened, study, chosen)
    if path is None:
        say(text, end="")
        return
    write_whole(path, text)
    say(f"{path} written ({len(text.encode()) / 1000:,.0f} kB)")


def importance(
    study: StudyName, store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show which of the searched parameters matter, and whether there are enough trials to tell."""
    from hpo.cli.importance_page import show_importances
    from hpo.report.importances import importances_of

    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        found = importances_of(opened, study)
    if as_json:
        print_json(found.to_json())
    else:
        show_importances(found)
