"""GPUs that are not there, to try out how trials share a machine's: HPO_SIMULATED_GPUS=2x16 are two of 16 GiB.

Workers hand them out, lock them and pack trials on them as they do with real ones. Trials train on the CPU.
"""

from __future__ import annotations

import os
import re

from hpo.errors import SpecError

SIMULATED = "HPO_SIMULATED_GPUS"
_FORM = re.compile(r"(?:(?P<machine>[\w.-]+):)?(?P<count>[1-9]\d{0,2})x(?P<gib>\d+(?:\.\d+)?)")


def are_simulated() -> bool:
    """Whether this process is to use simulated GPUs."""
    return bool(os.environ.get(SIMULATED))


def simulated_uuids() -> list[str]:
    """Of each, by which workers lock it: in HPO_SIMULATED_GPUS=node1:2x16, those of another machine than node2's.

    Raises:
        SpecError: the variable has another form.
    """
    machine, count, _ = _read()
    return [f"GPU-simulated-{machine}-{number}" for number in range(count)]


def simulated_bytes() -> int:
    """The memory of each of them.

    Raises:
        SpecError: the variable has another form.
    """
    return _read()[2]


def _read() -> tuple[str, int, int]:
    text = os.environ[SIMULATED]
    found = _FORM.fullmatch(text)
    if found is None:
        raise SpecError(f"{SIMULATED}={text}: should be a number of GPUs and the GiB of each, such as 2x16")
    return found["machine"] or "here", int(found["count"]), int(float(found["gib"]) * 2**30)
