"""Verbs that search: run, submit, worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import (
    ArtifactsOption,
    NameOption,
    ProjectOption,
    SetOption,
    SlotsOption,
    StoreOption,
    StudyFile,
    start_server,
    url_of,
)
from hpo.errors import RunError

if TYPE_CHECKING:
    from hpo.study.spec import StudySpec
    from hpo.study.study_file import Source

TrialsOption = Annotated[int | None, typer.Option("--trials", min=1, help="The study's total [default: the file's].")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also tell what only a developer wants to know.")]


def run(
    file: StudyFile,
    trials: TrialsOption = None,
    slots: SlotsOption = None,
    name: NameOption = None,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Create or continue a study and train it on this machine, shown live, down to its best trials."""
    server = start_server(store, project)
    try:
        from hpo.cli.screen import Screen
        from hpo.settings import artifacts_folder, project_folder

        folder, url = project_folder(project), url_of(store, project)
        artifacts = artifacts_folder(artifacts, folder)
        spec, source = _read(file, trials, name, changes)
        screen = Screen.start(verbose=verbose)

        from hpo.queue.studies import create_or_continue, study_exists
        from hpo.results.warm_start import find_weights
        from hpo.service.preflight import define, slots_for, try_one_batch
        from hpo.store import Store
        from hpo.worker.loop import Worker

        machine = slots_for(spec, source, wanted=slots)
        with Store.create(url) as opened:
            definition, study_server = define(spec, source, server=server, project=folder)
            weights = find_weights(opened, definition, source)
            if not study_exists(opened, spec.study):
                try_one_batch(definition, source, server=study_server, project=folder, slot=machine[0], weights=weights)
            study, said = create_or_continue(opened, definition)
            screen.say(f"{said}; {len(machine)} slots; store {url}")
            worker = Worker(
                opened, server=server, slots=machine, project=folder, artifacts=artifacts, on_frame=screen.draw
            )
            adopted = worker.adopt(study, server=study_server, definition=definition)
            with screen.live(worker, adopted):
                worker.run_until_done()
            screen.show_result(opened, adopted, store_option=store)
    finally:
        server.stop()
    if worker.is_draining:
        screen.say(f"stopped early; the same command continues: hpo run {file}")
        raise typer.Exit(130)
    if adopted.stop_reason:
        raise RunError(f"study {study.name} was stopped: {adopted.stop_reason}")


def submit(
    file: StudyFile,
    trials: TrialsOption = None,
    name: NameOption = None,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Create or continue a study, and leave the training to workers."""
    from hpo.queue.studies import create_or_continue, study_exists
    from hpo.results.warm_start import find_weights
    from hpo.service.preflight import define, try_one_batch
    from hpo.settings import project_folder
    from hpo.store import Store
    from hpo.study.devices import Slot

    server = start_server(store, project)
    try:
        folder, url = project_folder(project), url_of(store, project)
        spec, source = _read(file, trials, name, changes)
        with Store.create(url) as opened:
            definition, study_server = define(spec, source, server=server, project=folder)
            weights = find_weights(opened, definition, source)
            if not study_exists(opened, spec.study):
                # On the CPU: whoever submits need not have the workers' GPUs.
                slot = Slot(0, (), 1, 1)
                try_one_batch(definition, source, server=study_server, project=folder, slot=slot, weights=weights)
            _, said = create_or_continue(opened, definition)
    finally:
        server.stop()
    typer.echo(said)


def worker(
    studies: Annotated[list[str] | None, typer.Argument(metavar="[STUDY ...]", help="Studies to work on.")] = None,
    slots: SlotsOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when there is nothing left to do.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Train trials of the named studies, or of whatever study is open, and wait for more."""
    from hpo.cli.screen import log_to_stderr
    from hpo.queue.studies import load_study
    from hpo.settings import artifacts_folder, project_folder
    from hpo.store import Store
    from hpo.study.devices import slots_of
    from hpo.study.spec import Resources
    from hpo.worker.loop import Worker

    log_to_stderr(verbose=verbose)
    server = start_server(store, project)
    try:
        folder, url = project_folder(project), url_of(store, project)
        with Store.create(url) as opened:
            resources = load_study(opened, studies[0]).definition.spec.resources if studies else Resources()
            serving = Worker(
                opened,
                server=server,
                slots=slots_of(resources, wanted=slots),
                project=folder,
                artifacts=artifacts_folder(artifacts, folder),
            )
            serving.run_service(studies or [], is_until_idle=until_idle)
    finally:
        server.stop()


def _read(file: Path, trials: int | None, name: str | None, changes: list[str] | None) -> tuple[StudySpec, Source]:
    from hpo.study.study_file import read_study

    extra = [f"budget.trials={trials}"] if trials is not None else []
    return read_study(file, changes=[*(changes or []), *extra], name=name)
