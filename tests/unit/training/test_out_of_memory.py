from __future__ import annotations

import errno

import pytest
import torch

from hpo.training.out_of_memory import is_out_of_memory

ALLOCATIONS = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    *map(
        RuntimeError,
        [
            "CUDA error: out of memory",
            "CUDA driver error: out of memory",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "NCCL error in: ProcessGroupNCCL.cpp:1269, unhandled cuda error\nCuda failure 2 'out of memory'",
            "[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)",
            "unable to mmap 4096 bytes from file </torch_1_2>: Cannot allocate memory (12)",
        ],
    ),
]


@pytest.mark.parametrize("error", ALLOCATIONS, ids=lambda error: str(error)[:40])
def test_memory_that_ran_out_is_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)
    later = ValueError("while it trained")
    later.__cause__ = error  # as by `raise later from error`
    assert is_out_of_memory(later)


def test_a_real_allocation_that_is_too_large_is_recognised() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(1 << 60, dtype=torch.uint8)

    assert is_out_of_memory(failed.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ValueError("out of memory"),  # a program's own text
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=str,
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)
    error.__context__ = MemoryError()  # one that was handled before
    assert not is_out_of_memory(error)
