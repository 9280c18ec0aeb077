"""Batches as slices of in-memory samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.data.ranks import of_first_rank, rank_and_count

Inputs = Tensor | tuple[Tensor, ...]  # the samples are the first dimension of each
Batch = tuple[Inputs, Tensor]

MARK = "prepared"  # the attribute of a batch's tensors that `hpo.training.preparation` looks for
SHARE_OF_MEMORY = 0.5  # of the free memory; larger parts are read from their file again in every epoch

# An epoch of so few bytes is shuffled at once: it stays in a core's cache, and slices of it take almost no time.
MOST_TAKEN_AT_ONCE = 1 << 20


class Batches:
    """Slices of in-memory samples: 8 us a batch on a CPU, where a DataLoader needs 30 to 300.

    Batches are (inputs, targets). For training, samples are shuffled in every epoch, by torch's global generator. With
    several ranks, each takes its own share of one common order: for training all shares are equally long, so up to
    ranks - 1 samples are skipped in an epoch, different ones each time; otherwise every sample is used exactly once,
    and shares may differ by one sample. All ranks have equally many batches, as collective operations require.

    Args:
        batch_size: for training, of all ranks together: each has an equal part of it, rounded down.
        change: applied to every batch, such as an augmentation; it draws from torch's global generator.
        rows: the rows to use, if `samples` has others, as in a file that several processes have mapped into their
            memory: only batches are copied from it.
        pinned: batches are in pinned memory, from which a GPU copies while it computes.
        readers: processes that read the next batches from the file of samples while the model learns.
        prepared: a batch's inputs are marked with it, see models.data.base:DataModule.preparation.
        passes: over the samples in an epoch of a training; then a batch has at most all of them.
    """

    def __init__(
        self,
        samples: Inputs,
        targets: Tensor,
        batch_size: int,
        *,
        training: bool = False,
        change: Callable[[Inputs, Tensor], Batch] | None = None,
        rows: Tensor | None = None,
        pinned: bool = False,
        readers: int = 0,
        prepared: Mapping[str, Any] | None = None,
        passes: int = 1,
    ) -> None:
        self._samples = samples
        self._rows = rows
        self.targets = targets
        self.batch_size = batch_size if passes == 1 else min(batch_size, len(targets))
        if training:
            self.batch_size = _part_of(self.batch_size, rank_and_count()[1])
        self.training = training
        self.change = change
        self.pinned = pinned
        self.readers = readers
        self._prepared = prepared
        self._passes = passes

    @property
    def inputs(self) -> Inputs:
        """The inputs of all samples in the order of `targets`; a copy if `samples` has other rows."""
        return _marked(self._samples if self._rows is None else take(self._samples, self._rows), self._prepared)

    def __len__(self) -> int:
        return len(self._starts(rank_and_count()[1]))

    def __iter__(self) -> Iterator[Batch]:
        rank, ranks = rank_and_count()
        starts = self._starts(ranks)
        share = self._order(ranks)[rank::ranks]
        # If a rank has one sample more than others, it is added to its last batch.
        end = starts.stop if self.training else len(share)
        places = [*zip(starts, [*starts[1:], end], strict=True)]
        for batch in self._read([share[start:stop] for start, stop in places]):
            if self.change is not None:
                batch = self.change(*batch)
            inputs, targets = _pinned(batch) if self.pinned else batch
            yield _marked(inputs, self._prepared), targets

    def _read(self, order: list[Tensor]) -> Iterable[Batch]:
        """Copies of these rows."""
        if self.readers:
            # With its own generator, so that the global one draws the same with and without readers.
            return DataLoader(
                _Rows(self._take),
                sampler=order,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=self.readers,
                generator=torch.Generator(),
            )
        rows = sum(len(part) for part in order)
        if rows * bytes_of_one(self._samples, self.targets) > MOST_TAKEN_AT_ONCE:
            return map(self._take, order)
        inputs, targets = self._take(torch.cat(order))
        sizes = [len(part) for part in order]
        if isinstance(inputs, Tensor):
            return zip(torch.split(inputs, sizes), torch.split(targets, sizes), strict=True)
        parts = zip(*(torch.split(part, sizes) for part in inputs), strict=True)
        return zip(parts, torch.split(targets, sizes), strict=True)

    def _take(self, rows: Tensor) -> Batch:
        """A copy of these samples."""
        among_all = rows if self._rows is None else self._rows.index_select(0, rows)
        return take(self._samples, among_all), self.targets.index_select(0, rows)

    def _starts(self, ranks: int) -> range:
        """The starts of the batches in a share; for training, the range ends at the end of the share's last batch."""
        rows = len(self.targets) * self._passes // ranks
        if self.training and self.batch_size > 1 and rows % self.batch_size == 1:
            rows -= 1  # batch normalisation cannot learn from a batch of one sample
        if rows < 1:
            raise ValueError(f"{len(self.targets)} samples are too few for {ranks} ranks")
        return range(0, rows, self.batch_size)

    def _order(self, ranks: int) -> Tensor:
        if not self.training:
            return torch.arange(len(self.targets), device=self.targets.device)
        order = torch.cat([torch.randperm(len(self.targets)) for _ in range(self._passes)])
        if ranks > 1:
            # The ranks' generators may differ, because of dropout.
            order = of_first_rank(order)
        return order.to(self.targets.device)


def _part_of(batch_size: int, ranks: int) -> int:
    """The part of a batch that each rank has.

    Raises:
        ValueError: it has too few samples.
    """
    if batch_size < ranks:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided among {ranks} devices: "
            f"batch_size counts the samples of all together, so give it at least {ranks}"
        )
    return batch_size // ranks


def _marked(inputs: Inputs, prepared: Mapping[str, Any] | None) -> Inputs:
    """The same tensors, marked; a copy, such as one on another device, is without the mark."""
    if prepared is not None:
        for tensor in (inputs,) if isinstance(inputs, Tensor) else inputs:
            setattr(tensor, MARK, prepared)
    return inputs


def bytes_of_one(inputs: Inputs, targets: Tensor) -> int:
    """The size of one sample with its target."""
    parts = (targets, *((inputs,) if isinstance(inputs, Tensor) else inputs))
    return sum(part[:1].nbytes for part in parts)


def readers_for(inputs: Inputs, targets: Tensor, *, cores: int, free: int) -> int:
    """The number of processes that read a part ahead: none if it fits in memory, else the cores that do not train.

    Args:
        cores: of the trial.
        free: bytes of memory.
    """
    is_too_large = len(targets) * bytes_of_one(inputs, targets) > SHARE_OF_MEMORY * free
    return cores - 1 if is_too_large else 0


class _Rows(Dataset[Batch]):
    """The data set for PyTorch's loader: a batch by its rows."""

    def __init__(self, take: Callable[[Tensor], Batch]) -> None:
        self._take = take

    def __getitem__(self, rows: Any) -> Batch:
        return self._take(rows)


def _as_it_is(batch: Any) -> Any:
    return batch


def _pinned(batch: Batch) -> Batch:
    inputs, targets = batch
    pinned = inputs.pin_memory() if isinstance(inputs, Tensor) else tuple(part.pin_memory() for part in inputs)
    return pinned, targets.pin_memory()


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """A copy of these rows."""
    if isinstance(inputs, Tensor):
        return inputs.index_select(0, rows)
    return tuple(part.index_select(0, rows) for part in inputs)
