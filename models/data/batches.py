"""In-memory samples in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

Inputs = Tensor | tuple[Tensor, ...]  # the samples are the first dimension of each
Batch = tuple[Inputs, Tensor]

SHARE_OF_GPU = 0.25  # of the memory that is free, which one part's samples may take; the model needs the rest
SHARE_OF_MEMORY = 0.5  # of what is free; what is larger is read from its file anew in every epoch, as memory allows

# An epoch of so few bytes is put in order at once: it stays in a core's cache, and a slice of it costs next to nothing.
MOST_TAKEN_AT_ONCE = 1 << 20


class Batches:
    """In-memory samples in slices: 8 us a batch on a CPU, where a DataLoader needs 30 to 300.

    Batches are (inputs, targets). For training, samples are shuffled anew in every epoch, by torch's global
    generator. With several ranks each takes its own share of one common order: for training all shares are
    equally long, so up to ranks - 1 samples sit out an epoch, others each time; otherwise every sample is taken
    exactly once, and shares may differ by one sample. All ranks have equally many batches, as collective
    operations demand.

    Args:
        change: applied to every batch, such as an augmentation; what it draws comes from torch's global generator.
        rows: which of `samples` are meant, where there are others among them, as in a file that several processes have
            mapped into their memory: a batch is copied out of it, and the rest is not.
        pinned: batches are in memory that a GPU copies from while it computes.
        readers: processes that read the next batches from the file of samples while the model learns.
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
    ) -> None:
        self._samples = samples
        self._rows = rows
        self.targets = targets
        self.batch_size = batch_size
        self.training = training
        self.change = change
        self.pinned = pinned
        self.readers = readers

    @property
    def inputs(self) -> Inputs:
        """Of all samples in the order of `targets`, a copy where others are among them."""
        return self._samples if self._rows is None else take(self._samples, self._rows)

    def __len__(self) -> int:
        return len(self._starts(_rank()[1]))

    def __iter__(self) -> Iterator[Batch]:
        rank, ranks = _rank()
        starts = self._starts(ranks)
        share = self._order(ranks)[rank::ranks]
        # The one sample that a rank may have more than others joins its last batch.
        end = starts.stop if self.training else len(share)
        places = [*zip(starts, [*starts[1:], end], strict=True)]
        for batch in self._read([share[start:stop] for start, stop in places]):
            if self.change is not None:
                batch = self.change(*batch)
            yield _pinned(batch) if self.pinned else batch

    def _read(self, order: list[Tensor]) -> Iterable[Batch]:
        """Copies of these rows."""
        if self.readers:
            # A generator of its own: the global one is to draw the same with readers and without.
            return DataLoader(
                _Rows(self._take),
                sampler=order,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=self.readers,
                generator=torch.Generator(),
            )
        rows = sum(len(part) for part in order)
        if rows * _bytes_of_one(self._samples, self.targets) > MOST_TAKEN_AT_ONCE:
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
        """Where batches start in a share; for training, the range ends where the share's last batch does."""
        rows = len(self.targets) // ranks
        if self.training and self.batch_size > 1 and rows % self.batch_size == 1:
            rows -= 1  # batch normalisation cannot learn from a batch of one sample
        if rows < 1:
            raise ValueError(f"{len(self.targets)} samples are too few for {ranks} ranks")
        return range(0, rows, self.batch_size)

    def _order(self, ranks: int) -> Tensor:
        if not self.training:
            return torch.arange(len(self.targets), device=self.targets.device)
        order = torch.randperm(len(self.targets)).to(self.targets.device)
        if ranks > 1:
            # Dropout may have moved the ranks' generators apart.
            distributed.broadcast(order, src=0)
        return order


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The inputs, each where the model is."""
    return inputs.to(device) if isinstance(inputs, Tensor) else tuple(part.to(device) for part in inputs)


def fits(inputs: Inputs, targets: Tensor, device: torch.device) -> bool:
    """Whether samples may stay on the device; otherwise their batches are copied to it one by one."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return len(targets) * _bytes_of_one(inputs, targets) <= SHARE_OF_GPU * free


def _bytes_of_one(inputs: Inputs, targets: Tensor) -> int:
    """Of one sample with its target."""
    parts = (targets, *((inputs,) if isinstance(inputs, Tensor) else inputs))
    return sum(part[:1].nbytes for part in parts)


def readers_for(inputs: Inputs, targets: Tensor, *, cores: int, free: int) -> int:
    """How many processes should read a part ahead: none where it fits in memory, else the cores that do not train.

    Args:
        cores: of the trial.
        free: bytes of memory.
    """
    is_too_large = len(targets) * _bytes_of_one(inputs, targets) > SHARE_OF_MEMORY * free
    return cores - 1 if is_too_large else 0


class _Rows(Dataset[Batch]):
    """What PyTorch's loader asks for a batch, by its rows."""

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


def _rank() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
