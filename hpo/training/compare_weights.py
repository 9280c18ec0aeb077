"""Compares the weights in two checkpoints, tensor by tensor and bit by bit, in a process of a study's server."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hpo.ipc.channel import Channel, Message
from hpo.study.job import WeightsJob
from hpo.training.checkpoint import read

_ABSENT = object()


def run_comparison(job: WeightsJob, channel: Channel) -> None:
    """Answer with one message: what `compare_weights` finds, or the reason why a file cannot be read."""
    try:
        answer = {"kind": "compared", **compare_weights(_weights(job.one), _weights(job.other))}
    except (OSError, RuntimeError, LookupError, ValueError, pickle.UnpicklingError, EOFError) as error:
        answer = {"kind": "unreadable", "reason": f"{type(error).__name__}: {error}"}
    channel.send(answer)
    # Without the interpreter's clean-up, in which native libraries may hang.
    os._exit(0)


def compare_weights(one: Mapping[str, Any], other: Mapping[str, Any]) -> Message:
    """How the state of a module differs from another one's.

    Returns:
        `tensors`: how many there are; `differences`: for each that is not bit-equal its `name`, and the `largest`
        absolute difference of two of its numbers, or None where shapes or types differ, or it is no tensor.
    """
    names = list(dict.fromkeys([*one, *other]))
    differences = [
        {"name": name, "largest": largest}
        for name in names
        for largest in _difference(one.get(name, _ABSENT), other.get(name, _ABSENT))
    ]
    return {"tensors": len(names), "differences": differences}


def _difference(one: Any, other: Any) -> Iterator[float | None]:
    """The largest difference of two entries; nothing where they are equal."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        is_alike = type(one) is type(other) and repr(one) == repr(other)
        yield from [] if is_alike else [None]
    elif one.shape != other.shape or one.dtype != other.dtype:
        yield None
    elif not torch.equal(_bits(one), _bits(other)):
        yield _largest(_numbers(one), _numbers(other))


def _largest(one: Tensor, other: Tensor) -> float | None:
    """The largest absolute difference; None where one of two numbers is not finite, and the other is not the same."""
    apart = torch.where((one == other) | (one.isnan() & other.isnan()), 0.0, (one - other).abs())
    largest = float(apart.max())
    return largest if math.isfinite(largest) else None


def _bits(tensor: Tensor) -> Tensor:
    """The bytes: numbers that compare equal may differ in them, as 0 and -0; and NaN is no number's equal."""
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def _numbers(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).double()


def _weights(path: str) -> Mapping[str, Any]:
    """The state of a checkpoint's module.

    Raises:
        OSError, RuntimeError, LookupError, ValueError, pickle.UnpicklingError, EOFError: it cannot be read.
    """
    found = read(path)["state_dict"]
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} has no state_dict")
    return found
