"""Verbs that change a study while it runs: pause, resume, stop, kill, set."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.options import ProjectOption, StoreOption, StudyName, studies_at
from hpo.study.states import Request

TrialNumber = Annotated[int | None, typer.Argument(metavar="[TRIAL]", min=0, help="One trial, instead of the study.")]


def pause(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Pause a study or a trial: running trials are saved after their epoch, and none begins until `resume`."""
    _request(study, trial, store, project, Request.PAUSE)


def resume(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Resume a paused or stopped study, or a paused trial."""
    _request(study, trial, store, project, None)


def stop(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Stop a study or a trial after the current epoch; running trials count as pruned, with their last value."""
    _request(study, trial, store, project, Request.STOP)


def kill(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Kill a study or a trial at once; running trials count as failed."""
    _request(study, trial, store, project, Request.KILL)


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
    with studies_at(store, project) as studies:
        say(studies.set(study, changes))


def _request(
    study: str, trial: int | None, store: StoreOption, project: ProjectOption, request: Request | None
) -> None:
    with studies_at(store, project) as studies:
        said = studies.request(study, trial, request)
    say(said)
