"""This machine's cores and GPUs, found without torch, and the slots they are divided into."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass
from typing import Literal

from hpo.errors import SpecError
from hpo.printable import counted
from hpo.study.gpu_locks import holder_of
from hpo.study.gpus import ON_THE_CPU, Gpu, visible_gpus
from hpo.study.resources import Resources
from hpo.study.simulated_gpus import SIMULATED, are_simulated

log = logging.getLogger(__name__)

# Of engines that neither pin a worker to its cores nor set a quota: Ray, and Slurm without its plugin for tasks.
CORES = "HPO_CORES"
MOST_TRIALS = 16  # at a time on a GPU, with `trials_per_device: auto`; each has a core of its own
APPLE = "mps"  # the name of an Apple GPU, as torch has it


@dataclass(frozen=True)
class Slot:
    """A share of the machine that trains one trial at a time.

    Attributes:
        devices: names of its GPUs in the form of CUDA_VISIBLE_DEVICES; empty on the CPU.
        ranks: how many processes train a trial together.
        threads: cores of each of these processes.
        uuids: of its GPUs, by which workers lock them.
        model: of its GPUs, as the driver names it; empty where it does not, and on the CPU.
        shared_by: the slots, with itself, that have its GPU.
        is_probed: how many of these train at a time is found out, see `hpo.worker.packing`.
        share: of its devices, which counts in device-hours.
    """

    number: int
    devices: tuple[str, ...]
    ranks: int
    threads: int
    uuids: tuple[str, ...] = ()
    model: str = ""
    shared_by: int = 1
    is_probed: bool = False
    share: float = 1.0

    @property
    def accelerator(self) -> str:
        if self.devices == (APPLE,):
            return APPLE
        return "gpu" if self.devices else "cpu"

    @property
    def device(self) -> str:
        """For people: `cpu`, `cpu x2`, `gpu 0`, `gpu 0,1`, `mps`."""
        if self.accelerator == APPLE:
            return APPLE
        if self.devices:
            return f"gpu {','.join(self.devices)}"
        return "cpu" if self.ranks == 1 else f"cpu x{self.ranks}"


def slots_of(resources: Resources, *, wanted: int | None = None, also_held: bool = False) -> list[Slot]:
    """The slots of this machine for a study's resources.

    One slot per GPU with its share of the cores, which prepare its data, or `trials_per_device` of them; without a GPU,
    one slot per core with one thread: two trials of one thread each are faster than one trial of two.

    Args:
        wanted: overrides `resources.slots`.
        also_held: of GPUs that other workers hold, too, to look at them or to try a batch.

    Raises:
        SpecError: more devices are requested than there are, or than other workers have left free.
    """
    per_trial = resources.devices_per_trial
    asked = wanted if wanted is not None else resources.slots
    gpus = visible_gpus() if resources.accelerator in ("auto", "gpu") else []
    if resources.accelerator == "gpu" and not gpus:
        raise SpecError("resources.accelerator: gpu: CUDA shows no GPU on this machine (nvidia-smi -L lists them)")
    if resources.accelerator == APPLE:
        gpus = [_apple_gpu()]
    if gpus:
        return _slots_of_gpus(gpus, asked, per_trial, resources.trials_per_device, also_held=also_held)
    available = cores()
    if per_trial > available:
        raise SpecError(f"devices_per_trial: {per_trial} does not fit on {counted(available, 'core')}")
    count = max(1, available // per_trial) if asked == "auto" else asked
    threads = max(1, available // (count * per_trial))
    return [Slot(number, (), per_trial, threads) for number in range(count)]


def _apple_gpu() -> Gpu:
    """The GPU of this Mac.

    Raises:
        SpecError: it is none, or has no Apple GPU.
    """
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        raise SpecError("resources.accelerator: mps: this machine has no GPU of Apple's: write auto, gpu or cpu")
    return Gpu(APPLE, APPLE, "Apple")


def _slots_of_gpus(
    gpus: list[Gpu],
    asked: int | Literal["auto"],
    per_trial: int,
    per_device: int | Literal["auto"],
    *,
    also_held: bool,
) -> list[Slot]:
    if are_simulated():
        log.warning("the GPUs are simulated (%s): trials train on the CPU", SIMULATED)
    if per_trial > 1 and any(gpu.is_mig for gpu in gpus):
        raise SpecError(f"devices_per_trial: {per_trial}: a trial cannot use several MIG instances, write 1")
    looked_at = [] if also_held else gpus
    holders = {gpu.uuid: holder for gpu in looked_at if (holder := holder_of(gpu.uuid)) is not None}
    free = [gpu for gpu in gpus if gpu.uuid not in holders]
    held = "; ".join(f"gpu {gpu.name} is used by {holders[gpu.uuid]}" for gpu in gpus if gpu.uuid in holders)
    if not free:
        raise SpecError(f"no GPU is free: {held}; {ON_THE_CPU}")
    parts = [tuple(free[first : first + per_trial]) for first in range(0, len(free) - per_trial + 1, per_trial)]
    sharing = max(1, min(MOST_TRIALS, cores() // len(free))) if per_device == "auto" else per_device
    most = len(parts) * sharing
    count = most if asked == "auto" else asked
    if count < 1 or count > most:
        each = f"{counted(per_trial, 'GPU')} each" if sharing == 1 else f"1/{sharing} GPU each"
        raise SpecError(
            f"{counted(count, 'slot')} of {each}: at most {most} fit on "
            f"{counted(len(free), 'GPU')}" + (f"; {held}" if held else "")
        )
    if held:
        log.warning("%s: the other GPUs are taken", held)
    threads = max(1, cores() // (count * per_trial))
    return [
        _slot_of(
            parts[number % len(parts)], number, threads, len(range(number % len(parts), count, len(parts))), per_device
        )
        for number in range(count)
    ]


def _slot_of(
    part: tuple[Gpu, ...], number: int, threads: int, shared_by: int, per_device: int | Literal["auto"]
) -> Slot:
    return Slot(
        number,
        tuple(gpu.name for gpu in part),
        len(part),
        threads,
        tuple(gpu.uuid for gpu in part),
        ", ".join(dict.fromkeys(gpu.model for gpu in part if gpu.model)),
        shared_by=shared_by,
        is_probed=per_device == "auto" and shared_by > 1,
        share=1 / shared_by,
    )


def cores() -> int:
    """Cores that this process may use: fewer than the machine has in a container, under taskset, or by HPO_CORES.

    Raises:
        SpecError: HPO_CORES is not a number above 0.
    """
    if text := os.environ.get(CORES):
        if not text.isdecimal() or int(text) < 1:
            raise SpecError(f"{CORES}={text}: should be a number of cores, such as 4")
        return int(text)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _cgroup_cores() or allowed)


def _cgroup_cores() -> int | None:
    """A container's CPU quota in whole cores, at least one; None without a quota."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
