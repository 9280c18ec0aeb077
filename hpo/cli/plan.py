"""Verbs that come before a search: init, check, space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import (
    JsonOption,
    ProjectOption,
    SetOption,
    StoreOption,
    StudyFile,
    open_to_look,
    print_json,
    start_server,
)
from hpo.errors import SpecError


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")]) -> None:
    """Write a project folder with models and studies, to run and to change."""
    import hpo

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder} is there already and not empty: name a new folder")
    package = Path(hpo.__file__).parent
    shipped = package / "templates"
    # In a checkout of the project the originals stand beside the package.
    source = shipped if (shipped / "studies").is_dir() else package.parent
    for name in ("models", "studies"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    example = next((folder / "studies").glob("digits_dnn.yaml")).relative_to(folder)
    typer.echo(f"wrote {folder}/models and {folder}/studies\n\nNext:\n  cd {folder}\n  hpo run {example}")


def check(
    file: StudyFile,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a study file, try one batch, and say what the study will cost."""
    from hpo.results.warm_start import find_weights, names_weights
    from hpo.service.preflight import define, slots_for, try_one_batch
    from hpo.settings import project_folder
    from hpo.study.study_file import read_study

    folder = project_folder(project)
    spec, source = read_study(file, changes=changes or [])
    slots = slots_for(spec, source)
    server = start_server(store, project)
    try:
        definition, study_server = define(spec, source, server=server, project=folder)
        weights = {}
        if names_weights(definition):  # any other study can be checked without a store
            with open_to_look(store, project) as opened:
                weights = find_weights(opened, definition, source)
        probe = try_one_batch(definition, source, server=study_server, project=folder, slot=slots[0], weights=weights)
    finally:
        server.stop()
    most_epochs = spec.budget.trials * spec.max_epochs
    if as_json:
        print_json(
            {
                "study": spec.study,
                "searched": definition.space.to_json(),
                "metrics": list(probe.metrics),
                "parameters": probe.parameters,
                "trials": spec.budget.trials,
                "epochs": most_epochs,
                "slots": len(slots),
            }
        )
        return
    typer.echo(f"{file}: fine")
    typer.echo(f"  searched    {', '.join(definition.space.names)}")
    typer.echo(
        f"  objective   {spec.objective.direction} {spec.objective.metric}; the model logs {', '.join(probe.metrics)}"
    )
    typer.echo(f"  model       {probe.parameters:,} parameters at its defaults")
    typer.echo(
        f"  cost        {spec.budget.trials} trials of at most {spec.max_epochs} epochs: {most_epochs} epochs before "
        f"pruning, on {len(slots)} slots here ({', '.join(slot.device for slot in slots)})"
    )


def space(
    target: Annotated[str, typer.Argument(metavar="STUDY.yaml|pkg.mod:Class", help="A study file or a class.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the search space of a study, or of one model or data module."""
    from hpo.loading import check_label
    from hpo.service.preflight import define
    from hpo.settings import project_folder
    from hpo.space import SearchSpace
    from hpo.study.job import StudyJob
    from hpo.study.study_file import read_study

    folder = project_folder(project)
    is_file = target.endswith((".yaml", ".yml")) or Path(target).is_file()
    study = read_study(Path(target)) if is_file else None
    if study is None:
        check_label(target)
    server = start_server()
    try:
        if study is not None:
            found = define(*study, server=server, project=folder)[0].space
        else:
            _, classes = server.serve_study(StudyJob(str(folder), {"any": target}))
            found = SearchSpace.from_json(next(iter(classes.values()))["space"])
    finally:
        server.stop()
    if as_json:
        print_json(found.to_json())
        return
    from hpo.cli.space_table import show_space

    show_space(found, target)
