"""What a trial's result depends on besides its configuration, to be recorded with it, and compared when it is replayed.

All that is costly to find is found once for a worker or for a study; a trial adds its own seed, slot and executor.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpo.ipc.environment import clean_environment
from hpo.study.devices import Slot
from hpo.study.fingerprints import CODE, changed_inputs
from hpo.study.resolved_study import ResolvedStudy
from hpo.worker.work_tree import WorkTree

# Each can change what a trial computes; what a project's modules import comes on top.
PACKAGES = {  # by the name that modules import
    "torch": "torch",
    "pytorch_lightning": "pytorch-lightning",
    "torchmetrics": "torchmetrics",
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "optuna": "optuna",
    "hpo": "hpo-service",
}
_CHANGES, _RESUMED = "changes", "resumed"  # the keys under which earlier attempts are noted


@dataclass(frozen=True)
class StudyProvenance:
    """What the trials of a study have in common on one worker.

    Attributes:
        inputs: fingerprints of its data and its code, see `ResolvedStudy.inputs`.
        libraries: versions of what its modules import, by the name that they import.
    """

    tree: WorkTree
    inputs: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

    def of_trial(self, resolved: ResolvedStudy, *, seed: int, slot: Slot, executor: str) -> dict[str, Any]:
        """The provenance of a trial, in plain values.

        Args:
            executor: that trains it, and why, as its process reports it.
        """
        return {
            "seed": seed,
            "data": {name: mark for name, mark in self.inputs.items() if not name.startswith(CODE)},
            "code": code_digest(self.inputs),
            "commit": self.tree.commit,
            "dirty": self.tree.is_dirty,
            "versions": versions() | {name: of for name, of in self.libraries.items() if name not in PACKAGES},
            "platform": this_platform(),
            "device": device_name(slot),
            "ranks": slot.ranks,
            "threads": slot.threads,
            "precision": str(resolved.spec.resources.precision),
            "executor": executor,
        }


def ask_git(project: Path) -> WorkTree:
    """The state of the project folder's work tree; git answers while the study's modules are imported."""
    return WorkTree(project, clean_environment(None))


def with_changes(now: Mapping[str, Any], before: str | None, *, attempt: int, from_epoch: int) -> str:
    """The provenance of a trial's newest attempt as JSON, with what differed in the attempts before it.

    Args:
        before: as it was stored for the attempt before; None for the first.
        from_epoch: whose checkpoint the attempt resumes from; 0 from scratch.
    """
    plain = dict(now)
    if from_epoch:
        plain[_RESUMED] = [from_epoch]
    earlier = json.loads(before) if before else {}
    if earlier:
        noted = list(earlier.get(_CHANGES, []))
        if changes := provenance_changes(plain, earlier):
            noted.append({"attempt": attempt, "differs": changes})
        if noted:
            plain[_CHANGES] = noted
        if from_epoch:
            plain[_RESUMED] = [*earlier.get(_RESUMED, []), from_epoch]
    return json.dumps(plain)


def earlier_changes(provenance: Mapping[str, Any]) -> list[str]:
    """What changed between the attempts of a trial, in words."""
    return [
        f"attempt {change['attempt']}: {difference}"
        for change in provenance.get(_CHANGES, [])
        for difference in change["differs"]
    ]


def resumed_after(provenance: Mapping[str, Any]) -> tuple[int, ...]:
    """The epochs, or steps, after which its attempts went on, since they last began from scratch."""
    return tuple(provenance.get(_RESUMED, ()))


def provenance_changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What differs between two provenances, in words: `torch: 2.7.0, before 2.6.0`; empty where one is not known."""
    if not now or not before:
        return []
    # With an equal entry each: without any data they would count as not known.
    found = changed_inputs({"": "", **now["data"]}, {"": "", **before["data"]})
    if None not in (now["code"], before["code"]) and now["code"] != before["code"]:
        found.append("code: other contents in the study's modules")
    for name, mine, theirs in _pairs(now, before):
        if mine != theirs and None not in (mine, theirs):
            found.append(f"{name}: {mine}, before {theirs}")
    if {now["dirty"], before["dirty"]} == {True, False}:
        found.append(f"work tree: {_tree(now)} now, {_tree(before)} before")
    return found


def code_digest(inputs: Mapping[str, str]) -> str | None:
    """One fingerprint of all modules among a study's inputs; None where there are none."""
    modules = sorted((name, mark) for name, mark in inputs.items() if name.startswith(CODE))
    return hashlib.sha256(json.dumps(modules).encode()).hexdigest() if modules else None


@functools.cache
def versions() -> dict[str, str]:
    """Of Python, and of the packages that trials use, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES.values():
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the service itself, where it is not installed but run from its source
            continue
    return found


@functools.cache
def this_platform() -> str:
    """Such as `Linux x86_64, glibc 2.36`."""
    library = " ".join(platform.libc_ver())
    return f"{platform.system()} {platform.machine()}" + (f", {library}" if library.strip() else "")


def device_name(slot: Slot) -> str:
    """The model of the slot's GPUs, or of the machine's CPU."""
    return slot.model or ("GPU" if slot.devices else _cpu())


@functools.cache
def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeError):
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _pairs(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, value now, value before) of what is compared as it is."""
    mine, theirs = now["versions"], before["versions"]
    for name in mine | theirs:
        yield name, mine.get(name, "not used"), theirs.get(name, "not used")
    for name in ("seed", "platform", "device", "ranks", "threads", "precision", "commit"):
        yield name, now[name], before[name]
    # Without the reason, which a study may have got since by asking for the same one.
    yield "executor", *(one["executor"].partition(",")[0] for one in (now, before))


def _tree(provenance: Mapping[str, Any]) -> str:
    return "with changes that are in no commit" if provenance["dirty"] else "as committed"
