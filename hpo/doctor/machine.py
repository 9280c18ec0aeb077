"""This machine: the installed versions, and the devices for training."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from shutil import which

from packaging.requirements import Requirement

from hpo.doctor.finding import Finding, Level, listed
from hpo.errors import SpecError
from hpo.printable import counted
from hpo.study.devices import cores, slots_of
from hpo.study.gpus import visible_gpus
from hpo.study.resources import Resources

# in this order; those that only some need are last
SHOWN = ("hpo-service", "torch", "pytorch-lightning", "optuna", "sqlalchemy", "alembic", "psycopg")
OPTIONAL = ("psycopg",)


def check_packages() -> Iterator[Finding]:
    """The installed versions against the required ones, read without importing the packages."""
    required: dict[str, Requirement] = {}
    for line in _requirements():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", "postgres")):
            requirement.marker = None
            required.setdefault(requirement.name.lower(), requirement)
    found = {name: _installed(name) for name in dict.fromkeys([*SHOWN, *required])}
    is_well = True
    for name, here in found.items():
        if here is None:
            if name not in OPTIONAL:
                is_well = False
                yield Finding(
                    "problem", "versions", f"{name} is not installed", name, f"pip install '{required.get(name, name)}'"
                )
        elif name in required and not required[name].specifier.contains(here, prereleases=True):
            is_well = False
            message = f"{name} {here} is installed, {required[name].specifier} is needed"
            yield Finding("problem", "versions", message, name, f"pip install '{required[name]}'")
    shown = [f"{name} {found[name]}" if found[name] else f"no {name}" for name in SHOWN]
    level: Level = "ok" if is_well else "note"
    yield Finding(level, "versions", ", ".join([f"python {platform.python_version()}", *shown]))


def check_devices() -> Iterator[Finding]:
    """Cores, GPUs and the slots that a study would get by default."""
    try:
        gpus = visible_gpus()
        slots = slots_of(Resources(), also_held=True)
    except SpecError as error:
        yield Finding("problem", "GPUs", str(error))
        return
    place = slots[0].accelerator.upper()
    yield Finding("ok", "devices", f"{counted(cores(), 'core')}; {counted(len(slots), 'slot')} by default, on {place}")
    if gpus:
        models = listed(sorted({gpu.model for gpu in gpus} - {""}))
        yield Finding("ok", "GPUs", f"{len(gpus)}: {listed([gpu.name for gpu in gpus])}" + (models and f" ({models})"))
    elif which("nvidia-smi") is not None:
        yield Finding(
            "note",
            "GPUs",
            "CUDA shows none, although nvidia-smi is installed",
            remedy="run nvidia-smi -L, and check CUDA_VISIBLE_DEVICES",
        )
    else:
        yield Finding("ok", "GPUs", "none")


def _requirements() -> list[str]:
    try:
        return requires("hpo-service") or []
    except PackageNotFoundError:
        return []  # reported with the other packages


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
