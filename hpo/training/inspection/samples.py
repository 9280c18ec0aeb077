"""Reads a bounded number of samples from each part of any data module, as arrays."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from hpo.errors import SpecError

Array = NDArray[Any]

# Enough to describe the data, within a bounded time and memory.
MOST_BATCHES = 1000
MOST_SAMPLES = 50_000
MOST_BYTES = 256 << 20
MOST_SECONDS = 10.0

TARGET_NAMES = ("y", "label", "labels", "target", "targets")


class DataError(SpecError):
    """The batches cannot be described; the message has their type."""


@dataclass(frozen=True)
class Samples:
    """Samples of one part, in the loader's order.

    Attributes:
        part: train or validation; several loaders of a part are numbered.
        inputs: by name, (samples, ...) each.
        targets: (samples, ...); None when batches have no targets, or targets that are not a tensor.
        total: samples in the part; None when it is unknown.
        batches: of this part in an epoch; None when it is unknown.
        remarks: on contents of the batches that are not described.
    """

    part: str
    inputs: dict[str, Array]
    targets: Array | None
    total: int | None
    batches: int | None
    remarks: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def is_whole(self) -> bool:
        return self.seen == self.total


def parts_of(data: Any) -> list[Samples]:
    """Samples from the loaders of the training and validation parts; the test part is not read.

    Raises:
        DataError: there are no batches, or none with a tensor.
    """
    found = []
    for part, method in (("train", "train_dataloader"), ("validation", "val_dataloader")):
        loaders = list(_flat(getattr(data, method)()))
        for number, loader in enumerate(loaders, 1):
            found.append(read_part(loader, part if len(loaders) == 1 else f"{part} {number}"))
    return found


def read_part(loader: Any, part: str) -> Samples:
    """The samples of a loader that holds them in memory (`inputs`, `targets`); else those of its first batches."""
    targets = getattr(loader, "targets", None)
    if isinstance(targets, Tensor) and hasattr(loader, "inputs"):
        inputs, _, remarks = _split((loader.inputs, targets))
        rows = _some_rows(len(targets), [*inputs.values(), targets])
        arrays = {name: _array(tensor[rows]) for name, tensor in inputs.items()}
        return Samples(part, arrays, _array(targets[rows]), len(targets), len(loader), remarks)
    return _read_batches(loader, part)


def _read_batches(loader: Any, part: str) -> Samples:
    inputs: dict[str, list[Array]] = {}
    targets: list[Array] = []
    remarks: tuple[str, ...] = ()
    end = time.monotonic() + MOST_SECONDS
    batches = samples = size = 0
    is_whole = True
    for batch in loader:
        if batches and (batches >= MOST_BATCHES or samples >= MOST_SAMPLES or size >= MOST_BYTES):
            is_whole = False
            break
        if batches and time.monotonic() > end:
            is_whole = False
            break
        found, target, remarks = _split(batch)
        if not found:
            raise DataError(f"the {part} part's batches hold no tensor: a batch is {_kind(batch)}")
        for name, tensor in found.items():
            inputs.setdefault(name, []).append(_array(tensor))
        if target is not None:
            targets.append(_array(target))
        batches += 1
        samples += len(next(iter(found.values())))
        size += sum(arrays[-1].nbytes for arrays in inputs.values())
    if not batches:
        raise DataError(f"the {part} part gives no batches")
    total = samples if is_whole else _length(getattr(loader, "sampler", None) or getattr(loader, "dataset", None))
    joined = {name: _joined(arrays) for name, arrays in inputs.items()}
    return Samples(part, joined, _joined(targets) if targets else None, total, _length(loader), remarks)


def _split(batch: Any) -> tuple[dict[str, Tensor], Tensor | None, tuple[str, ...]]:
    """The named inputs of a batch, its targets, and remarks on its other contents."""
    inputs: Any
    target: Any = None
    if isinstance(batch, Tensor | PackedSequence):
        inputs = batch
    elif isinstance(batch, Mapping):
        key = next((key for key in batch if str(key).lower() in TARGET_NAMES), None)
        inputs = {name: value for name, value in batch.items() if name != key}
        target = None if key is None else batch[key]
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        *first, last = batch if len(batch) > 1 else (*batch, None)
        inputs, target = (first[0] if len(first) == 1 else tuple(first)), last
    else:
        return {}, None, ()
    tensors, remarks = {}, []
    for name, value in _named(inputs):
        if isinstance(value, Tensor) and value.ndim:
            tensors[name] = value
        else:
            remarks.append(f"{name} of a batch is {_kind(value)}, which is not described")
    if target is not None and not isinstance(target, Tensor):
        remarks.append(f"the targets of a batch are {_kind(target)}, which is not described")
        target = None
    return tensors, target, tuple(remarks)


def _named(inputs: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(inputs, PackedSequence):
        padded, lengths = pad_packed_sequence(inputs, batch_first=True)
        yield from (("sequences", padded), ("lengths", lengths))
    elif isinstance(inputs, Mapping):
        yield from ((str(name), value) for name, value in inputs.items())
    elif isinstance(inputs, tuple | list):
        for number, value in enumerate(inputs, 1):
            yield f"input {number}", value
    else:
        yield "input", inputs


def _flat(loaders: Any) -> Iterator[Any]:
    """All loaders: Lightning takes one, or a list or mapping of them, or none."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        for loader in loaders:
            yield from _flat(loader)
    elif loaders is not None:
        yield loaders


def _array(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # numpy has none
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _joined(arrays: list[Array]) -> Array:
    """One array of all batches, padded with zeros where batches have different lengths."""
    if len({array.ndim for array in arrays}) > 1:
        raise DataError("the batches have different numbers of dimensions: " + ", ".join(str(a.shape) for a in arrays))
    shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    padded = [
        array
        if array.shape[1:] == shape
        else np.pad(array, [(0, 0), *((0, most - own) for most, own in zip(shape, array.shape[1:], strict=True))])
        for array in arrays
    ]
    return np.concatenate(padded)


def _some_rows(samples: int, tensors: list[Tensor]) -> slice:
    """All rows, or every second, third, ... so that they fit into the allowed memory."""
    size = sum(tensor.nelement() * tensor.element_size() for tensor in tensors)
    return slice(0, samples, max(1, math.ceil(size / MOST_BYTES)))


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except TypeError:  # an iterable data set has no length
        return None


def _kind(value: Any) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | Mapping):
        return f"a {type(value).__name__}"
    items = list(value.values() if isinstance(value, Mapping) else value)
    return f"a {type(value).__name__} of {len(items)}" + (f" {type(items[0]).__name__}" if items else "")
