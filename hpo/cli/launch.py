"""Verbs and options that start workers on an engine: up, down, and `hpo run --launcher`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.options import ArtifactsOption, ProjectOption, StoreOption, url_of

if TYPE_CHECKING:
    from hpo.ipc.fork_server import ForkServer
    from hpo.launch.order import Order
    from hpo.study.spec import StudySpec
    from hpo.study.study_file import Source

LauncherOption = Annotated[
    str | None,
    typer.Option("--launcher", metavar="NAME", help="Start workers by local, ray, slurm, or another installed one."),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="How many workers the launcher starts.")]
LauncherOptions = Annotated[
    list[str] | None,
    typer.Option("--launcher-option", metavar="KEY=VALUE", help="An option of the launcher, such as cpus=4."),
]


def up(
    launcher: Annotated[str, typer.Option("--launcher", metavar="NAME", help="local, ray, slurm, ...")] = "local",
    workers: WorkersOption = 1,
    options: LauncherOptions = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Start a pool of workers, which train whatever is submitted until 'hpo down'."""
    from hpo.launch.launchers import check_places, launcher_of, options_of
    from hpo.launch.run import start_pool
    from hpo.printable import counted
    from hpo.settings import project_folder
    from hpo.store import Store

    folder = project_folder(project)
    given = options_of(options or [])
    chosen = launcher_of(launcher, given)
    order = order_of("pool", (), store=store, folder=folder, artifacts=artifacts, workers=workers, is_pool=True)
    check_places(chosen, order, given)
    with Store.create(url_of(store, project)):
        pass
    start_pool(chosen, order, name=launcher, options=given)
    started = f"{counted(workers, 'worker')} started by {launcher}"
    say(f"{started}; 'hpo submit STUDY.yaml' gives them work, 'hpo down' ends them")


def down(project: ProjectOption = None) -> None:
    """End the pool of this project folder: its trials are handed back, and go on when there are workers again."""
    from hpo.launch.run import stop_pool
    from hpo.settings import project_folder

    pool = stop_pool(project_folder(project))
    say(f"the workers of the pool ({pool.launcher}) have ended")


def order_of(
    name: str,
    studies: tuple[str, ...],
    *,
    store: str | None,
    folder: Path,
    artifacts: Path | None,
    workers: int,
    is_pool: bool = False,
) -> Order:
    """What the options of a verb ask a launcher for."""
    from hpo.launch.order import Order
    from hpo.settings import artifacts_folder, store_url

    return Order(
        name=name,
        workers=workers,
        studies=studies,
        is_until_idle=not is_pool,
        store=store_url(store, folder).reveal(),
        artifacts=artifacts_folder(artifacts, folder),
        project=folder,
        outlives=is_pool,
    )


def run_on(
    server: ForkServer,
    spec: StudySpec,
    source: Source,
    *,
    launcher: str,
    options: list[str],
    order: Order,
    is_change_accepted: bool,
    again: str,
) -> None:
    """`hpo run --launcher`: submit the study, train it on workers of an engine, and show its best trials.

    Args:
        again: the command, for whoever interrupts it.

    Raises:
        HpoError: see `submit` and `train_on`.
    """
    from hpo.cli.console import console
    from hpo.cli.tables import print_best
    from hpo.errors import RunError
    from hpo.launch.launchers import check_places, launcher_of, options_of
    from hpo.launch.run import train_on
    from hpo.printable import counted
    from hpo.results.study import Study
    from hpo.service.assembly import Workspace, submit
    from hpo.store import Store, StoreUrl

    given = options_of(options)
    chosen = launcher_of(launcher, given)
    check_places(chosen, order, given)
    with Store.create(StoreUrl.parse(order.store)) as opened:
        workspace = Workspace(server, order.project, opened, order.artifacts)
        study, message = submit(workspace, spec, source, is_change_accepted=is_change_accepted)
        say(f"{message}; {counted(order.workers, 'worker')} by {launcher}")
        try:
            progress = train_on(chosen, order, opened, study.study_id, say=say)
        except KeyboardInterrupt:
            say(f"stopped early; the same command continues: {again}")
            raise typer.Exit(130) from None
        counts = progress.counts
        say(f"{study.name}: {counts.ends_in_words}")
        if progress.reason and progress.state.is_ending and not progress.is_ended_by_request:
            raise RunError(f"study {study.name} was stopped: {progress.reason}")
        found = Study(opened, study.name)
        records = found.best(None if found.objectives.are_several else 5)
        if not records:
            raise RunError(f"study {study.name} has no model: 'hpo trials {study.name}' shows why")
        print_best(records, console(), objectives=found.objectives.metrics)


deploy = typer.Typer(help="Print what an engine is given to run workers.", no_args_is_help=True)


@deploy.command()
def kubernetes(
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="The study to work on (default: all open ones).")
    ] = "",
    image: Annotated[str, typer.Option("--image", help="The image of a container with hpo and the project.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="job, deployment or rayjob.")] = "job",
    workers: WorkersOption = 2,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Cores of a worker.")] = 4,
    memory: Annotated[str, typer.Option("--memory", help="Memory of a worker.")] = "8Gi",
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of a worker.")] = 0,
    store: StoreOption = None,
    artifacts: Annotated[
        str, typer.Option("--artifacts", metavar="URL", help="Where the pods have their artifacts.")
    ] = "s3://BUCKET/searches",
) -> None:
    """Print a manifest for Kubernetes: hpo deploy kubernetes --image IMAGE STUDY > job.yaml."""
    from hpo.errors import SpecError
    from hpo.launch.manifest import Wanted, manifest
    from hpo.study.naming import check_study_name

    if not image:
        raise SpecError("--image: name the image of a container with hpo and your project, as a Dockerfile builds it")
    if study:
        check_study_name(study)
    more = {} if store is None else {"store": store}
    wanted = Wanted(
        kind, image, workers=workers, study=study, cpus=cpus, memory=memory, gpus=gpus, artifacts=artifacts, **more
    )
    say(manifest(wanted).rstrip("\n"))
