import pytest
import torch

from models.data.batches import MOST_TAKEN_AT_ONCE, Batch, Batches, Inputs, readers_for

SAMPLES = torch.arange(60, dtype=torch.float32).reshape(20, 3)
TARGETS = torch.arange(20)


def noisy(inputs: Inputs, targets: torch.Tensor) -> Batch:
    assert isinstance(inputs, torch.Tensor)
    return inputs + torch.rand(inputs.shape), targets


def epoch_of(batches: Batches) -> list[tuple[list[list[float]], list[int]]]:
    torch.manual_seed(3)
    return [(inputs.tolist(), targets.tolist()) for inputs, targets in batches]  # type: ignore[union-attr]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rows", [None, torch.tensor([19, 3, 5, 7, 11, 13, 2])])
def test_processes_that_read_ahead_change_nothing(training: bool, rows: torch.Tensor | None) -> None:
    targets = TARGETS if rows is None else TARGETS[rows]
    epochs = [
        epoch_of(Batches(SAMPLES, targets, 3, training=training, rows=rows, change=noisy, readers=readers))
        for readers in (0, 2)
    ]

    assert epochs[0] == epochs[1]
    assert len({target for _, batch in epochs[0] for target in batch}) == len(targets) - (training and rows is not None)


def test_batches_of_small_data_and_of_large_data_are_copies_in_one_order() -> None:
    wide = SAMPLES.repeat(1, MOST_TAKEN_AT_ONCE // SAMPLES.nbytes + 1)
    epochs = [[*epoch] for epoch in (_shuffled(SAMPLES), _shuffled(wide))]

    for (small, targets), (large, other) in zip(*epochs, strict=True):
        assert torch.equal(targets, other)
        assert torch.equal(small, large[:, :3])
        small.zero_(), large.zero_()
    assert SAMPLES[-1].tolist() == [57, 58, 59]
    assert wide[-1, :3].tolist() == [57, 58, 59]


def _shuffled(samples: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return [*Batches(samples, TARGETS, 6, training=True)]


def test_inputs_of_several_parts_are_sliced_alike() -> None:
    inputs = (SAMPLES, TARGETS * 2)

    for (values, doubled), targets in Batches(inputs, TARGETS, 8):
        assert torch.equal(values, SAMPLES[targets])
        assert torch.equal(doubled, targets * 2)


@pytest.mark.parametrize(("cores", "free", "readers"), [(4, 10**9, 0), (4, 400, 3), (1, 400, 0)])
def test_data_that_does_not_fit_in_memory_is_read_ahead_by_the_cores_that_do_not_train(
    cores: int, free: int, readers: int
) -> None:
    assert readers_for(SAMPLES, TARGETS, cores=cores, free=free) == readers
