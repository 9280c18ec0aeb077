"""This machine's cores and GPUs, found without torch, and the slots they are divided into."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from shutil import which

from hpo.errors import SpecError
from hpo.study.spec import Resources


@dataclass(frozen=True)
class Slot:
    """A share of the machine that trains one trial at a time.

    Attributes:
        devices: names of its GPUs in the form of CUDA_VISIBLE_DEVICES; empty on the CPU.
        ranks: how many processes train a trial together.
        threads: cores of each of these processes.
    """

    number: int
    devices: tuple[str, ...]
    ranks: int
    threads: int

    @property
    def accelerator(self) -> str:
        return "gpu" if self.devices else "cpu"

    @property
    def device(self) -> str:
        """For people: `cpu`, `cpu x2`, `gpu 0`, `gpu 0,1`."""
        if self.devices:
            return f"gpu {','.join(self.devices)}"
        return "cpu" if self.ranks == 1 else f"cpu x{self.ranks}"


def slots_of(resources: Resources, *, wanted: int | None = None) -> list[Slot]:
    """The slots of this machine for a study's resources.

    One slot per GPU with its share of the cores, which prepare its data; without a GPU, one slot per core with one
    thread: two trials of one thread each are faster than one trial of two.

    Args:
        wanted: overrides `resources.slots`.

    Raises:
        SpecError: more devices are requested than there are.
    """
    per_trial = resources.devices_per_trial
    gpus = visible_gpus() if resources.accelerator != "cpu" else []
    if resources.accelerator == "gpu" and not gpus:
        raise SpecError("resources.accelerator: gpu: this machine shows no GPU (nvidia-smi lists none)")
    available = len(gpus) if gpus else cores()
    most = available // per_trial
    asked = wanted if wanted is not None else resources.slots
    if gpus:
        count = most if asked == "auto" else asked
        if count < 1 or count > most:
            raise SpecError(f"{count} slots of {per_trial} GPUs each do not fit on {available} GPUs; at most {most} do")
        threads = max(1, cores() // (count * per_trial))
        return [Slot(n, tuple(gpus[n * per_trial : (n + 1) * per_trial]), per_trial, threads) for n in range(count)]
    if per_trial > available:
        raise SpecError(f"devices_per_trial: {per_trial} does not fit on {available} cores")
    count = max(1, most) if asked == "auto" else asked
    threads = max(1, available // (count * per_trial))
    return [Slot(number, (), per_trial, threads) for number in range(count)]


def cores() -> int:
    """Cores that this process may use: fewer than the machine has if in a container or under taskset."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _cgroup_cores() or allowed)


def visible_gpus() -> list[str]:
    """GPUs by index or UUID, limited by CUDA_VISIBLE_DEVICES."""
    limited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if limited is not None:
        return [name for name in (part.strip() for part in limited.split(",")) if name and name != "-1"]
    if which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip().isdigit()]


def _cgroup_cores() -> int | None:
    """A container's CPU quota in whole cores, at least one; None without a quota."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
