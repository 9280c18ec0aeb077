"""Initialises CUDA when it is imported, as a global tensor on a GPU does: forks of such a process cannot use it.

On a machine without a GPU torch refuses, and does not tell a fork that CUDA is lost; this says it in its place.
"""

from __future__ import annotations

import contextlib

import torch

from projects.nets import Leaver

with contextlib.suppress(AssertionError, RuntimeError):
    torch.cuda.init()  # type: ignore[no-untyped-call]
torch.cuda._is_in_bad_fork = lambda: True


class Early(Leaver):
    """As good as any other."""
