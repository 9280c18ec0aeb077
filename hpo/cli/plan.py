"""Verbs that come before a search: init, check, space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import (
    JsonOption,
    ProjectOption,
    SetOption,
    StoreOption,
    StudyFile,
    open_to_look,
)
from hpo.errors import SpecError
from hpo.printable import counted
from hpo.service.server import start_server
from hpo.settings import templates_folder


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")]) -> None:
    """Create a project folder with models and studies to run and change."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder} is there already and not empty: name a new folder")
    source = templates_folder()
    for name in ("models", "studies"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    example = next((folder / "studies").glob("digits_dnn.yaml")).relative_to(folder)
    say(f"wrote {folder}/models and {folder}/studies\n\nNext:\n  cd {folder}\n  hpo run {example}")


def check(
    file: StudyFile,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a study file, try batches at its defaults and extremes, and say what time, disk and memory it takes."""
    server = start_server(store, project)
    try:
        from hpo.service.check import check_study
        from hpo.settings import project_folder
        from hpo.study.study_file import read_study

        folder = project_folder(project)
        spec, source = read_study(file, changes=changes or [])
        checked = check_study(
            spec, source, server=server, project=folder, open_store=lambda: open_to_look(store, project)
        )
    finally:
        server.stop()
    if as_json:
        print_json(checked.to_json())
        return
    from hpo.cli.console import console
    from hpo.cli.estimate import disk_in_words, time_in_words
    from hpo.cli.tables import print_facts

    unit = checked.unit
    of_all = "" if checked.epochs is None else f": {unit.counted(checked.epochs)} before pruning"
    budget = (
        f"{checked.budget}; a trial has at most {unit.counted(checked.max_epochs)}{of_all}, "
        f"on {counted(len(checked.devices), 'slot')} here ({', '.join(checked.devices)})"
    )
    facts = {
        "searched": ", ".join(checked.space.names),
        "objective": f"{checked.objectives}; the model logs {', '.join(checked.metrics)}",
        "model": f"{checked.parameters:,} parameters at its defaults",
        "budget": budget,
        "time": time_in_words(checked.estimate, hours=spec.budget.hours),
        "disk": disk_in_words(checked.estimate),
        "memory": checked.memory,
        **({"advice": "; ".join(checked.advice)} if checked.advice else {}),
    }
    say(f"{file}: fine")
    print_facts([(f"{name:<10}", text) for name, text in facts.items()], console(), indent=2)


def space(
    target: Annotated[str, typer.Argument(metavar="STUDY.yaml|pkg.mod:Class", help="A study file or a class.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the search space of a study, or of one model or data module."""
    from hpo.loading import check_label

    is_file = target.endswith((".yaml", ".yml")) or Path(target).is_file()
    if not is_file:
        check_label(target)
    server = start_server()
    try:
        from hpo.service.prepare import prepare, space_of_class
        from hpo.settings import project_folder
        from hpo.study.study_file import read_study

        folder = project_folder(project)
        if is_file:
            with prepare(*read_study(Path(target)), server=server, project=folder) as prepared:
                found = prepared.resolved.space
        else:
            found = space_of_class(target, server=server, project=folder)
    finally:
        server.stop()
    if as_json:
        print_json(found.to_json())
        return
    from hpo.cli.space_table import show_space

    show_space(found, target)
