"""The verb that watches a store on the whole screen: top."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hpo.cli.answer import print_json
from hpo.cli.options import ArtifactsOption, JsonOption, ProjectOption, StoreOption, open_to_look, study_in_utf_8
from hpo.errors import SpecError

LEAST_SECONDS, MOST_SECONDS = 0.1, 3600.0


def top(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="One study, instead of all.", callback=study_in_utf_8)
    ] = None,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How often to look into the store.")] = 0.5,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch workers, slots and running trials on the whole screen; pause, resume, stop, kill and enqueue by keys."""
    from hpo.service.live import LiveReader
    from hpo.settings import artifacts_folder, project_folder

    if not LEAST_SECONDS <= every <= MOST_SECONDS:
        raise SpecError(f"--every {every:g} should be between {LEAST_SECONDS:g} and {MOST_SECONDS:g} seconds")
    if not as_json:
        _needs_a_terminal(study)
    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project, is_foreign_allowed=True) as opened:
        reader = LiveReader(opened, study)
        first = reader.look()
        if as_json:
            print_json(first.to_json())
            return
        from hpo.cli.top_app import TopApp

        TopApp(opened, reader, first, artifacts=folder, every=every).run()


def _needs_a_terminal(study: str | None) -> None:
    """
    Raises:
        SpecError: there is none, or one that cannot move its cursor.
    """
    instead = f"'hpo status {study}'" if study else "'hpo ls' and 'hpo status STUDY'"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SpecError(f"'hpo top' needs a terminal to draw on. Use {instead}, or 'hpo top --json', which print once")
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise SpecError(f"'hpo top' needs a terminal that moves its cursor, and TERM says it does not. Use {instead}")
