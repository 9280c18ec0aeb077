"""Recognises errors that mean that memory ran out, of the machine or of a GPU."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import torch

# Texts of torch's sources and of the libraries it calls, whose errors are RuntimeError or AcceleratorError.
_TEXTS = re.compile(
    r"""
      CUDA\ error:\ out\ of\ memory            # cudaErrorMemoryAllocation, from a call other than an allocation
    | CUDA\ out\ of\ memory                    # the caching allocator, before there was OutOfMemoryError
    | CUDA\ driver\ error:\ out\ of\ memory
    | cudaErrorMemoryAllocation
    | CUDNN_STATUS_ALLOC_FAILED
    | CUBLAS_STATUS_ALLOC_FAILED
    | CUSOLVER_STATUS_ALLOC_FAILED
    | CUSPARSE_STATUS_(ALLOC_FAILED|INSUFFICIENT_RESOURCES)
    | CUFFT_ALLOC_FAILED
    | (Cuda|CUDA)\ failure.*out\ of\ memory    # NCCL
    | HIP\ (error:\ )?out\ of\ memory
    | MPS\ backend\ out\ of\ memory
    | can't\ allocate\ memory                  # torch's allocator of the CPU
    | DefaultCPUAllocator:\ not\ enough\ memory
    | Cannot\ allocate\ memory                 # the C library's text of ENOMEM
    | std::bad_alloc
    | unable\ to\ mmap\ .*\ bytes              # shared memory of data loaders
    """,
    re.VERBOSE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error, or one that it was raised from, means that memory ran out."""
    return any(
        isinstance(one, MemoryError | torch.OutOfMemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError) and _TEXTS.search(str(one)) is not None)
        for one in _with_causes(error)
    )


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it was raised from; not those that it merely followed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
