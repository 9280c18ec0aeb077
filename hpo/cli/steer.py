"""Verbs that change a study while it runs: pause, resume, stop, kill, set."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.options import ProjectOption, StoreOption, StudyName, open_to_look
from hpo.study.states import Request, StudyState

TrialNumber = Annotated[int | None, typer.Argument(metavar="[TRIAL]", min=0, help="One trial, instead of the study.")]


def pause(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Pause a study or a trial: running trials are saved after their epoch, and none begins until `resume`."""
    _request(study, trial, store, project, state=StudyState.PAUSED, request=Request.PAUSE)


def resume(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Resume a paused or stopped study, or a paused trial."""
    _request(study, trial, store, project, state=StudyState.RUNNING, request=None)


def stop(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Stop a study or a trial after the current epoch; running trials count as pruned, with their last value."""
    _request(study, trial, store, project, state=StudyState.STOPPED, request=Request.STOP)


def kill(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Kill a study or a trial at once; running trials count as failed."""
    _request(study, trial, store, project, state=StudyState.KILLED, request=Request.KILL)


def change(
    study: StudyName,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE ...",
            help="trials, hours, gpu_hours, target, patience or priority: trials=100, trials=+50, hours=none.",
        ),
    ],
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Change the limits of a study, also while it runs."""
    from hpo.queue.control import set_limits

    with open_to_look(store, project) as opened:
        say(set_limits(opened, study, changes))


def _request(
    study: str,
    trial: int | None,
    store: StoreOption,
    project: ProjectOption,
    *,
    state: StudyState,
    request: Request | None,
) -> None:
    from hpo.service.steer import request_study, request_trial
    from hpo.settings import artifacts_folder, project_folder

    artifacts = artifacts_folder(None, project_folder(project))
    with open_to_look(store, project) as opened:
        if trial is None:
            said = request_study(opened, study, state, artifacts=artifacts)
        else:
            said = request_trial(opened, study, trial, request, artifacts=artifacts)
    say(said)
