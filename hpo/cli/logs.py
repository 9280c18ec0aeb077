"""The verb that prints a trial's log, and follows it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hpo.cli.options import (
    ArtifactsOption,
    JsonOption,
    ProjectOption,
    StoreOption,
    StudyName,
    open_to_look,
    print_json,
)
from hpo.errors import SpecError


def logs(
    study: StudyName,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until the trial has ended.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a trial's log, on the machine that trained it."""
    from hpo.service.trial_log import find_log, follow_log, wait_for_log
    from hpo.settings import artifacts_folder, project_folder

    if follow and as_json:
        raise SpecError("--json prints one document, which --follow would never end: give one of them")
    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project) as opened:
        if not follow:
            log = find_log(opened, study, trial, artifacts=folder)
            content = log.path.read_bytes()
            if as_json:
                text = content.decode(errors="replace")
                state = log.trial.state
                found = {"study": study, "trial": trial, "state": state, "path": str(log.path)}
                print_json({**found, "left_out_bytes": log.left_out, "log": text})
            else:
                _write(content)
                if left_out := log.left_out:
                    _notify(f"the log was too long: {left_out:,d} bytes were left out of its middle")
            return
        followed = wait_for_log(opened, study, trial, artifacts=folder, notify=_notify)
        for part in follow_log(opened, study, followed, notify=_notify):
            _write(part)


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _notify(text: str) -> None:
    typer.echo(text, err=True)
