"""The verb that prints the logs of trials, and follows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import (
    SERVER,
    ArtifactsOption,
    JsonOption,
    ProjectOption,
    StoreOption,
    StudyName,
    open_to_look,
    server_chosen,
)
from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.service.log_tail import RunningLogs


def logs(
    study: StudyName,
    trial: Annotated[
        int | None,
        typer.Argument(metavar="[TRIAL]", min=0, help="The trial's number (default: the ends of all that run)."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log until the trial, or the study, has ended.")
    ] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a trial's log, on the machine that trained it; without TRIAL, the ends of the logs of those that run."""
    from hpo.service.log_tail import LogsHere, LogsOfServer
    from hpo.service.trial_log import find_log, follow_log, wait_for_log
    from hpo.settings import artifacts_folder, project_folder

    if follow and as_json:
        raise SpecError("--json prints one document, which --follow would never end: give one of them")
    if SERVER.url is not None and store is None:
        if trial is not None:
            _through_server(study, trial, follow=follow, as_json=as_json)
            return
        with server_chosen() as studies:
            _print_running(LogsOfServer(studies, study), study, follow=follow, as_json=as_json)
        return
    folder = artifacts_folder(artifacts, project_folder(project))
    with open_to_look(store, project) as opened:
        if trial is None:
            here = LogsHere(opened, study, artifacts=folder, notify=_notify)
            _print_running(here, study, follow=follow, as_json=as_json)
            return
        if not follow:
            log = find_log(opened, study, trial, artifacts=folder)
            if as_json:
                state = log.trial.state
                found = {"study": study, "trial": trial, "state": state, "path": str(log.path)}
                print_json({**found, "left_out_bytes": log.left_out, "log": log.text()})
            else:
                say(log.text(), end="")
                if left_out := log.left_out:
                    _notify(f"the log was too long: {left_out:,d} bytes were left out of its middle")
            return
        followed = wait_for_log(opened, study, trial, artifacts=folder, notify=_notify)
        for part in follow_log(opened, study, followed, notify=_notify):
            say(part, end="")


def _through_server(study: str, trial: int, *, follow: bool, as_json: bool) -> None:
    """The log as the server's machine has it, a part at a time."""
    from hpo.service.trial_log import ENDED, READ_SECONDS

    parts = []
    with server_chosen() as studies:
        part = studies.log(study, trial)
        while True:
            parts.append(part.text) if as_json else say(part.text, end="")
            if part.is_last and (not follow or part.state in ENDED):
                break
            if part.is_last:
                time.sleep(3 * READ_SECONDS)
            part = studies.log(study, trial, part.next_offset)
    if as_json:
        found = {"study": study, "trial": trial, "state": part.state, "path": part.path}
        print_json({**found, "left_out_bytes": part.left_out, "log": "".join(parts)})
    elif part.left_out and not follow:
        _notify(f"the log was too long: {part.left_out:,d} bytes were left out of its middle")


def _print_running(logs: RunningLogs, study: str, *, follow: bool, as_json: bool) -> None:
    """The lines of all running trials, each with its trial's number before it."""
    from hpo.service.log_tail import running_logs

    lines = running_logs(logs, study, follow=follow, notify=_notify)
    if as_json:
        print_json([{"study": study, "trial": number, "line": line} for number, line in lines])
        return
    for number, line in lines:
        say(f"{number:>4} | {line}")


def _notify(text: str) -> None:
    say(text, err=True)
