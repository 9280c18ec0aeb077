"""Recognises errors that mean that another rank of the trial has gone: what ended that one is the cause."""

from __future__ import annotations

import re

import torch.distributed

# Texts of gloo, and of NCCL's communicators, whose errors are RuntimeError where torch has no class for them.
_TEXTS = re.compile(r"gloo/transport/|Connection (closed|reset) by peer|NCCL.*(remote|aborted)", re.DOTALL)


def is_lost_rank(error: BaseException) -> bool:
    """Whether this error is of the connections between ranks."""
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and _TEXTS.search(str(error)) is not None
    )
