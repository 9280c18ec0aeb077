"""Verbs about a study's data: data describe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.answer import print_json
from hpo.cli.options import JsonOption, ProjectOption, SetOption, StudyFile
from hpo.service.server import start_server

data = typer.Typer(help="Describe a study's data.", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Describe a study's data."""


@data.command()
def describe(
    file: StudyFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.png", help="The picture to write (default: STUDY-data.png)."),
    ] = None,
    changes: SetOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a study's data before a search, draw it, and warn of leaks, duplicates and the like.

    Looks at the training and validation parts; the test part is not touched.
    """
    server = start_server()
    try:
        from hpo.service.describe_data import describe_data, picture_file
        from hpo.service.prepare import prepare
        from hpo.settings import project_folder
        from hpo.study.study_file import read_study

        folder = project_folder(project)
        spec, source = read_study(file, changes=changes or [])
        picture = picture_file(out, spec.study)
        with prepare(spec, source, server=server, project=folder) as prepared:
            document = describe_data(prepared, picture=picture)
    finally:
        server.stop()
    if as_json:
        print_json(document)
        return
    from hpo.cli.data_report import show_data

    show_data(document)
