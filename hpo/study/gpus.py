"""The GPUs that CUDA shows on this machine, found without torch, as the driver lists them."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import psutil

from hpo.errors import SpecError
from hpo.study.simulated_gpus import are_simulated, simulated_bytes, simulated_uuids

log = logging.getLogger(__name__)

# A driver without persistence mode takes seconds to wake each GPU up.
SECONDS_TO_LIST, TRIES = 60.0, 3
SECONDS_TO_ASK = 5.0  # in a worker, whose other trials wait
DEVICES = Path("/dev")

_GPU = re.compile(r"^GPU (\d+): (.*?) \(UUID: (GPU-[^)\s]+)\)")
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)\s]+)\)")

ON_THE_CPU = "to train on the CPU, write resources: {accelerator: cpu}"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance of one.

    Attributes:
        name: in the form of CUDA_VISIBLE_DEVICES, in the order of the PCI bus.
        uuid: by which two processes know that they mean the same one.
        model: as the driver names it.
    """

    name: str
    uuid: str
    model: str = ""

    @property
    def is_mig(self) -> bool:
        """Whether it is an instance of a GPU that is divided. A process can use only one of them."""
        return self.uuid.startswith("MIG-")


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA shows, by CUDA_VISIBLE_DEVICES; none where it hides all, or where there are none.

    Raises:
        SpecError: there are some, and the driver does not list them.
    """
    limits = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = None if limits is None else _names_in(limits)
    if named == []:
        return []
    divided = _listed(is_named=named is not None)
    if named is None:
        return [gpu for instances in divided or [] for gpu in instances]
    if divided is None:  # nothing lists them, but somebody has named them
        return [Gpu(name, name) for name in named]
    found = _those_named(named, divided)
    if not found:
        log.warning("CUDA_VISIBLE_DEVICES=%s names no GPU of this machine, so CUDA shows none", limits)
    return found


def free_share(names: Sequence[str]) -> float:
    """The share of the memory that is free on that of these GPUs with the least; 0 where the driver does not tell.

    It does not tell of MIG instances.
    """
    return min((free / total for free, total in _memory_of(names) or ()), default=0.0)


def total_bytes(names: Sequence[str]) -> int | None:
    """The memory of that of these GPUs with the least; None where the driver does not tell."""
    if are_simulated():
        return simulated_bytes()
    return min((round(total * 2**20) for _, total in _memory_of(names) or ()), default=None)


def has_mps() -> bool:
    """Whether the control daemon of CUDA's Multi-Process Service runs, through which processes share a GPU's cores.

    It writes its process number into the folder of its pipes, which clients find by the same variable:
    https://docs.nvidia.com/deploy/mps/index.html
    """
    folder = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))  # noqa: S108 (CUDA's own default)
    try:
        return psutil.pid_exists(int((folder / "nvidia-cuda-mps-control.pid").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return False


def _memory_of(names: Sequence[str]) -> list[tuple[float, float]] | None:
    """(free, all) of each in MiB; None where the driver does not tell."""
    command = ["nvidia-smi", f"--id={','.join(names)}", "--query-gpu=memory.free,memory.total"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_ASK,
            check=True,
        )
        pairs = [line.split(",") for line in done.stdout.splitlines()]
        found = [(float(free), float(total)) for free, total in pairs]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found if all(total > 0 for _, total in found) else None


def _names_in(limits: str) -> list[str]:
    """The devices that CUDA_VISIBLE_DEVICES names: as CUDA does, up to the first that is none, and none if one repeats.

    What CUDA does is not documented in whole; this is as torch.cuda._parse_visible_devices reads it.
    """
    names: list[str] = []
    texts = [text.strip() for text in limits.split(",")]
    by_uuid = re.match("GPU-|MIG-", texts[0])
    form = re.compile(rf"{by_uuid[0]}.*" if by_uuid else r"\+?\d+")
    for text in texts:
        found = form.match(text)
        if found is None:
            break
        name = found[0] if by_uuid else str(int(found[0]))
        if name in names:
            return []
        names.append(name)
    return names


def _those_named(names: list[str], divided: list[list[Gpu]]) -> list[Gpu]:
    """The listed ones with these indices or beginnings of UUIDs, up to the first that there is not."""
    found: list[Gpu] = []
    everything = [gpu for instances in divided for gpu in instances]
    for name in names:
        if name.isdecimal():
            instances = divided[int(name)] if int(name) < len(divided) else []
            matching = instances[:1]  # of a divided GPU, CUDA shows the first instance
        else:
            matching = [gpu for gpu in everything if gpu.uuid.startswith(name)]
        if len(matching) != 1:
            break
        found += [gpu for gpu in matching if gpu not in found]
    return found


def _listed(*, is_named: bool) -> list[list[Gpu]] | None:
    """Each GPU, or its MIG instances; None where nothing lists them.

    Args:
        is_named: CUDA_VISIBLE_DEVICES names some.

    Raises:
        SpecError: there are some, and the driver does not list them.
    """
    if are_simulated():
        return [[Gpu(str(number), uuid, "simulated")] for number, uuid in enumerate(simulated_uuids())]
    files = sorted(str(path) for path in DEVICES.glob("nvidia[0-9]*"))
    if which("nvidia-smi") is None:
        if files and not is_named:
            raise SpecError(
                f"this machine has GPUs ({files[0]}), but not the program that lists them, nvidia-smi: in a container, "
                "set NVIDIA_DRIVER_CAPABILITIES=compute,utility; or name them, as by CUDA_VISIBLE_DEVICES=0; "
                f"{ON_THE_CPU}"
            )
        return None
    problem = ""
    for number in range(1, TRIES + 1):
        output, problem = _ask_driver()
        if not problem:
            return _parsed(output)
        if not files and not is_named:  # as on the login node of a cluster
            log.info("nvidia-smi lists no GPU: %s", problem)
            return []
        if number < TRIES:
            log.warning("nvidia-smi does not list the GPUs (%s): it is asked again", problem)
    if is_named:
        log.warning("nvidia-smi does not list the GPUs (%s): those that CUDA_VISIBLE_DEVICES names are taken", problem)
        return None
    raise SpecError(
        f"this machine has GPUs ({', '.join(files)}), but nvidia-smi does not list them: {problem}. Repair the driver, "
        f"or name those that work, as by CUDA_VISIBLE_DEVICES=0; {ON_THE_CPU}"
    )


def _ask_driver() -> tuple[str, str]:
    """The driver's list, and what went wrong, "" if nothing did."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=SECONDS_TO_LIST, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"it has not answered for {SECONDS_TO_LIST:g} s"
    except OSError as error:
        return "", f"it cannot be started: {error.strerror}"
    said = (done.stderr or done.stdout).strip().splitlines() or [""]
    if "no devices" in done.stdout.lower():
        return "", ""
    if done.returncode != 0:
        return "", f"exit code {done.returncode}, {said[-1]!r}"
    unreachable = [line.strip() for line in done.stdout.splitlines() if line.startswith("Unable to")]
    return done.stdout, unreachable[0] if unreachable else ""


def _parsed(output: str) -> list[list[Gpu]]:
    divided: list[list[Gpu]] = []
    models: list[str] = []
    for line in output.splitlines():
        if gpu := _GPU.match(line):
            divided.append([Gpu(gpu[1], gpu[3], gpu[2])])
            models.append(gpu[2])
        elif (instance := _MIG.match(line)) and divided:
            whole = [other for other in divided[-1] if other.is_mig]
            divided[-1] = [*whole, Gpu(instance[2], instance[2], f"{models[-1]} MIG {instance[1]}")]
    return divided
