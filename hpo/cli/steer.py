"""Verbs that change a study while it runs: pause, resume, stop, kill, set."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.options import ProjectOption, StoreOption, StudyName, open_to_look

TrialNumber = Annotated[int | None, typer.Argument(metavar="[TRIAL]", min=0, help="One trial, instead of the study.")]


def pause(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Hold a study or a trial: what trains is saved after its epoch, and nothing begins until `resume`."""
    _steer("pause", study, trial, store, project)


def resume(
    study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None
) -> None:
    """Let a held or stopped study or a held trial go on where it was."""
    _steer("resume", study, trial, store, project)


def stop(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """End a study or a trial after the current epoch; what trains counts as pruned, with what it has reached."""
    _steer("stop", study, trial, store, project)


def kill(study: StudyName, trial: TrialNumber = None, store: StoreOption = None, project: ProjectOption = None) -> None:
    """End a study or a trial at once; what trains counts as failed."""
    _steer("kill", study, trial, store, project)


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
    """Change what a study may spend, while it runs."""
    from hpo.steering import set_limits

    with open_to_look(store, project) as opened:
        typer.echo(set_limits(opened, study, changes))


def _steer(wish: str, study: str, trial: int | None, store: StoreOption, project: ProjectOption) -> None:
    from hpo.steering import steer_study, steer_trial

    with open_to_look(store, project) as opened:
        typer.echo(steer_study(opened, study, wish) if trial is None else steer_trial(opened, study, trial, wish))
