from __future__ import annotations

import os

import pytest
from projects.locking import held_by_another_process

from hpo.errors import RunError
from hpo.study.gpu_locks import GpuLocks, holder_of

UUID = "GPU-of-this-test-only"


def test_a_gpu_is_held_by_one_process_and_freed_by_its_death() -> None:
    locks = GpuLocks()
    with held_by_another_process(UUID) as process:
        with pytest.raises(RunError, match=f"^process {process} of "):
            locks.hold(["GPU-another", UUID])
        assert holder_of(UUID) is not None
        assert holder_of("GPU-another") is None  # of several, all are held or none

    assert holder_of(UUID) is None
    locks.hold([UUID])
    assert str(os.getpid()) in (holder_of(UUID) or "")
    locks.release()
    assert holder_of(UUID) is None


def test_asking_who_holds_a_gpu_never_fills_the_holders_queue() -> None:
    with held_by_another_process(UUID) as process:
        holders = {holder_of(UUID) for _ in range(300)}

    assert {f"process {process}" in str(holder) for holder in holders} == {True}


def test_a_long_name_is_no_obstacle() -> None:
    locks = GpuLocks()

    locks.hold(["MIG-GPU-" + "8" * 200 + "/7/0"])
    locks.release()
