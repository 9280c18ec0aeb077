"""Verbs about a study's data: data describe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import JsonOption, ProjectOption, SetOption, StudyFile, print_json, start_server

data = typer.Typer(help="Look at a study's data.", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Look at a study's data."""


@data.command()
def describe(
    file: StudyFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.png", help="The picture to write [default: STUDY-data.png]."),
    ] = None,
    changes: SetOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what to see in a study's data before a search, draw it, and warn of leaks, duplicates and the like.

    Looks at the training and validation parts; the test part is not touched.
    """
    from hpo.service.describe_data import inspect_data, picture_file
    from hpo.service.preflight import define
    from hpo.settings import project_folder
    from hpo.study.study_file import read_study

    folder = project_folder(project)
    spec, source = read_study(file, changes=changes or [])
    picture = picture_file(out, spec.study)
    server = start_server()
    try:
        definition, study_server = define(spec, source, server=server, project=folder)
        facts = inspect_data(definition, source, server=study_server, project=folder, picture=picture)
    finally:
        server.stop()
    document = {
        "study": spec.study,
        "data": {"class": spec.data.label, "arguments": facts["arguments"], "changed": facts["changed"]},
        **{name: facts[name] for name in ("holds", "task", "parts", "features", "examples", "facts", "remarks")},
        "warnings": facts["warnings"],
        "picture": str(picture),
    }
    if as_json:
        print_json(document)
        return
    from hpo.cli.data_report import show_data

    show_data(document)
