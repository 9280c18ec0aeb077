"""The launchers by name: ours, and those that other packages bring."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from operator import attrgetter

import psutil

from hpo.errors import SpecError, nearest
from hpo.launch.order import Launcher, Order
from hpo.store import StoreUrl
from hpo.study.object_store import address_of, is_address

OURS = {
    "local": "hpo.launch.local:LocalLauncher.of",
    "ray": "hpo.launch.ray_cluster:RayLauncher.of",
    "slurm": "hpo.launch.slurm:SlurmLauncher.of",
}
GROUP = "hpo.launchers"
SHARED = "shared"  # the option that says that a folder of artifacts is shared
# Kinds of file systems that several machines see, by their names in /proc/mounts.
SHARED_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.", "afs", "9p", "virtiofs")


def options_of(texts: Sequence[str]) -> dict[str, str]:
    """The options of `--launcher-option KEY=VALUE`.

    Raises:
        SpecError: one has another form.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SpecError(f"--launcher-option {text}: should be KEY=VALUE")
        found[name.replace("-", "_")] = value
    return found


def check_options(launcher: str, options: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse an option that a launcher does not have.

    Raises:
        SpecError: there is one.
    """
    for name in options:
        if name not in (*known, SHARED):
            raise SpecError(
                f"--launcher-option {name}: {launcher} has no such option{nearest(name, known) or '.'} "
                f"It has {', '.join((*known, SHARED))}"
            )


def whole_number(name: str, text: str | None) -> int | None:
    """An option that is a number above 0; None where it is not given.

    Raises:
        SpecError: it is something else.
    """
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--launcher-option {name}={text}: should be a whole number above 0")
    return int(text)


def launcher_of(name: str, options: Mapping[str, str]) -> Launcher:
    """The launcher of this name.

    Raises:
        SpecError: there is none, it cannot be imported, or an option is invalid.
    """
    others = {found.name: found for found in entry_points(group=GROUP)}
    if name in OURS:
        module, _, place = OURS[name].partition(":")
        found: Launcher = attrgetter(place)(importlib.import_module(module))(options)
        return found
    if name not in others:
        known = [*OURS, *others]
        raise SpecError(
            f"--launcher {name}: there is no such launcher{nearest(name, known) or '.'} Use {', '.join(known)}"
        )
    try:
        make: Callable[[Mapping[str, str]], Launcher] = others[name].load()
    except Exception as error:  # of another package
        raise SpecError(f"--launcher {name} cannot be imported: {error}") from error
    return make(options)


def check_places(launcher: Launcher, order: Order, options: Mapping[str, str]) -> None:
    """Refuse a store or artifacts that the workers of a cluster could not share.

    Raises:
        SpecError: they could not.
    """
    if not launcher.is_cluster:
        return
    if StoreUrl.parse(order.store).is_sqlite:
        raise SpecError(
            "a store in a file of SQLite serves one machine: workers of a cluster need PostgreSQL, as in "
            "--store postgresql://USER:PASSWORD@HOST/NAME"
        )
    is_shared = options.get(SHARED, "").lower() in ("1", "true", "yes")
    if is_address(address_of(order.artifacts)) or is_shared or _is_shared_disk(order):
        return
    raise SpecError(
        f"the artifacts in {order.artifacts} are on a disk of this machine: a trial that goes on elsewhere would begin "
        "again. Give --artifacts s3://BUCKET/FOLDER or a folder that all machines share; "
        f"--launcher-option {SHARED}=true says that they share this one"
    )


def _is_shared_disk(order: Order) -> bool:
    path = order.artifacts
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    place = next((str(one) for one in (path, *path.parents) if str(one) in mounts), None)
    return place is not None and mounts[place].startswith(SHARED_DISKS)
