"""Augmentation: the effect of each strength on images and targets, and the source of its randomness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recorder import DryRun
from torch import Tensor

from models.data.augmentation import Augmentation
from models.dnn import DNN

BLACK = torch.zeros(1, 1, 1)

EVERYTHING: dict[str, Any] = {
    **{"flip": "both", "shift": 0.2, "rotate": 30.0, "crop": 0.4, "erase": 0.4},
    **{"mix_up": 0.4, "cut_mix": 0.4},
}


def changed(images: Tensor, *, black: Tensor = BLACK, seed: int = 0, **strengths: Any) -> Tensor:
    torch.manual_seed(seed)
    return Augmentation(**strengths)(images, torch.zeros(len(images), dtype=torch.int64), black=black, classes=3)[0]


def arrow(count: int = 200, height: int = 9, width: int = 9) -> Tensor:
    """Images (count, 1, height, width), unlike their mirror images and darker than their border is black."""
    image = torch.arange(1.0, height * width + 1).reshape(1, 1, height, width)
    return image.repeat(count, 1, 1, 1)


def is_one_of(images: Tensor, *candidates: Tensor) -> list[int]:
    """How many images are equal to each candidate."""
    return [sum(torch.equal(image, candidate) for image in images) for candidate in candidates]


def test_without_strength_nothing_happens() -> None:
    assert not Augmentation()
    assert Augmentation(shift=0.1)
    assert torch.equal(changed(arrow()), arrow())


@pytest.mark.parametrize(("flip", "dimensions"), [("horizontal", [3]), ("vertical", [2])])
def test_half_of_the_images_are_flipped(flip: str, dimensions: list[int]) -> None:
    as_is, flipped = is_one_of(changed(arrow(), flip=flip), arrow(1)[0], arrow(1).flip(dimensions)[0])

    assert as_is + flipped == 200
    assert 60 < flipped < 140


def test_flips_in_both_directions_are_independent() -> None:
    one = arrow(1)
    counts = is_one_of(changed(arrow(), flip="both"), *(one.flip(d)[0] for d in ([], [2], [3], [2, 3])))

    assert sum(counts) == 200
    assert min(counts) > 20


def test_a_flip_within_a_movement_is_the_same_flip() -> None:
    moved = changed(arrow(), flip="horizontal", rotate=1e-6)

    flipped = [image for image in moved if torch.allclose(image, arrow(1).flip(3)[0], atol=1e-2)]
    same = [image for image in moved if torch.allclose(image, arrow(1)[0], atol=1e-2)]
    assert len(flipped) + len(same) == 200
    assert 60 < len(flipped) < 140


def centres(images: Tensor) -> Tensor:
    """(images, 2): where the light is, in pixels from the middle, vertically and horizontally."""
    height, width = images.shape[2:]
    weight = images.sum((1, 2, 3))
    rows = (images.sum((1, 3)) * (torch.arange(height) - (height - 1) / 2)).sum(1) / weight
    columns = (images.sum((1, 2)) * (torch.arange(width) - (width - 1) / 2)).sum(1) / weight
    return torch.stack([rows, columns], 1)


def spot(count: int, height: int, width: int, row: int, column: int) -> Tensor:
    images = torch.zeros(count, 1, height, width)
    images[:, :, row, column] = 1.0
    return images


def test_a_shift_is_a_fraction_of_each_side() -> None:
    places = centres(changed(spot(500, 21, 41, 10, 20), shift=0.2))

    largest = places.abs().max(0).values
    assert largest[0].item() == pytest.approx(0.2 * 21, abs=0.3)
    assert largest[1].item() == pytest.approx(0.2 * 41, abs=0.4)
    assert places.mean(0).abs().max().item() < 0.7


def test_shifted_in_pixels_are_black() -> None:
    moved = changed(torch.ones(100, 2, 8, 8), black=torch.tensor([-3.0, -1.0]).reshape(2, 1, 1), shift=0.2)

    assert moved[:, 0].min().item() == pytest.approx(-3)
    assert moved[:, 1].min().item() == pytest.approx(-1)
    assert moved.max().item() <= 1 + 1e-5


def test_a_rotation_keeps_distances_also_of_oblong_images() -> None:
    places = centres(changed(spot(300, 31, 61, 15, 40), rotate=90.0))

    distances = places.norm(dim=1)
    assert distances.sub(10).abs().max().item() < 0.3  # the spot was 10 pixels right of the middle
    assert places[:, 0].max().item() > 9.5
    assert places[:, 0].min().item() < -9.5


def test_a_rotation_is_at_most_so_many_degrees() -> None:
    places = centres(changed(spot(300, 41, 41, 20, 35), rotate=30.0))

    angles = torch.rad2deg(torch.atan2(places[:, 0], places[:, 1]))
    assert 27 < angles.max().item() < 31
    assert -31 < angles.min().item() < -27


def test_a_crop_enlarges_and_stays_within_the_image() -> None:
    ones = torch.ones(100, 1, 16, 16)
    widths = changed(spot(100, 41, 41, 20, 20).roll(1, 0), crop=0.5).count_nonzero((1, 2, 3))

    torch.testing.assert_close(changed(ones, crop=0.5)[:, :, 1:-1, 1:-1], ones[:, :, 1:-1, 1:-1])
    assert widths.max().item() > 4  # one pixel became several


def test_erased_rectangles_have_at_most_the_area() -> None:
    images = changed(torch.ones(500, 3, 20, 20), erase=0.25)

    share = 1 - images.mean((1, 2, 3))
    assert set(images.flatten().tolist()) == {0.0, 1.0}
    assert 0.2 < share.max().item() <= 0.25 * 1.25  # whole pixels only
    assert 0.06 < share.mean().item() < 0.16
    holes = images[:, 0] == 0
    sides = holes.any(2).sum(1) * holes.any(1).sum(1)
    assert torch.equal(sides, holes.sum((1, 2)))  # each is one rectangle


def test_mix_up_averages_images_and_targets_in_the_same_proportion() -> None:
    targets = torch.tensor([0, 1, 2, 1])
    images = torch.nn.functional.one_hot(targets, 3).float().reshape(4, 3, 1, 1)

    torch.manual_seed(1)
    mixed, wanted = Augmentation(mix_up=1.0)(images, targets, black=BLACK, classes=3)

    torch.testing.assert_close(mixed.reshape(4, 3), wanted)
    torch.testing.assert_close(wanted.sum(1), torch.ones(4))
    assert 0 < wanted[0, 0] < 1


def test_mix_up_of_two_classes_gives_the_probability_of_the_second() -> None:
    targets = torch.tensor([0, 1, 1, 0])
    torch.manual_seed(0)
    mixed, wanted = Augmentation(mix_up=1.0)(targets.float().reshape(4, 1, 1, 1), targets, black=BLACK, classes=2)

    torch.testing.assert_close(mixed.flatten(), wanted)


def test_cut_mix_exchanges_one_rectangle_and_as_much_of_the_targets() -> None:
    targets = torch.arange(8)
    images = targets.float().reshape(8, 1, 1, 1).expand(8, 1, 12, 16).contiguous()  # each of its class's colour
    shares = []
    for seed in range(40):
        torch.manual_seed(seed)
        mixed, wanted = Augmentation(cut_mix=1.0)(images, targets, black=BLACK, classes=8)

        torch.testing.assert_close(mixed.mean((1, 2, 3)), wanted @ targets.float())
        torch.testing.assert_close(wanted.sum(1), torch.ones(8))
        other = (mixed != images).any(0).squeeze(0)  # of any image: some are exchanged with themselves
        assert other.sum() == other.any(1).sum() * other.any(0).sum()
        shares.append(1 - other.float().mean().item())
    assert min(shares) < 0.5 < max(shares) < 1.0


def test_a_batch_gets_mix_up_or_cut_mix() -> None:
    images = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 8, 8).contiguous()
    are_cut = set()
    for seed in range(30):
        torch.manual_seed(seed)
        mixed, _ = Augmentation(mix_up=1.0, cut_mix=1.0)(images, torch.arange(2), black=BLACK, classes=3)
        if not torch.equal(mixed, images):
            are_cut.add(set(mixed.flatten().tolist()) == {0.0, 1.0})
    assert are_cut == {True, False}


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_learns_from_mixed_targets_as_from_their_parts(classes: int, class_weight: Any) -> None:
    torch.manual_seed(0)
    is_binary = classes == 2
    model = DNN(
        in_features=4,
        outputs=1 if is_binary else classes,
        task="binary" if is_binary else "multiclass",
        label_smoothing=0.1,
        class_weight=class_weight,
        class_counts=(5,) * classes,
    )
    x, one, other = torch.rand(6, 4), torch.randint(classes, (6,)), torch.randint(classes, (6,))
    probabilities = [t.float() if is_binary else torch.nn.functional.one_hot(t, classes).float() for t in (one, other)]

    mixed = model.training_step((x, 0.7 * probabilities[0] + 0.3 * probabilities[1]), 0)

    parts = 0.7 * model.training_step((x, one), 0) + 0.3 * model.training_step((x, other), 0)
    torch.testing.assert_close(mixed, parts)


@pytest.mark.parametrize(
    "strength",
    [
        *({"flip": "both"}, {"shift": 0.1}, {"rotate": 9.0}, {"crop": 0.3}, {"erase": 0.3}, {"mix_up": 0.4}),
        *({"cut_mix": 1.0}, {"mix_up": 0.4, "cut_mix": 1.0}),
    ],
)
def test_randomness_comes_from_torchs_generator_and_types_stay(strength: dict[str, Any]) -> None:
    images = torch.rand(32, 3, 9, 7)

    first, again, other = (changed(images, seed=seed, **strength) for seed in (3, 3, 4))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (images.shape, images.dtype)


def test_a_single_pixel_survives_everything() -> None:
    assert changed(torch.ones(5, 1, 1, 1), **EVERYTHING).isfinite().all()


@pytest.mark.parametrize(
    ("strength", "words"),
    [
        ({"flip": "sideways"}, "flip: 'sideways' should be none, horizontal, vertical or both"),
        ({"shift": -0.1}, "shift: -0.1 should be 0 to 1"),
        ({"rotate": 200.0}, "rotate: 200.0 should be 0 to 180"),
        ({"crop": 1.0}, "crop: 1.0 should be 0 to 0.9"),
        ({"mix_up": float("nan")}, "mix_up: nan should be 0 to 100"),
    ],
)
def test_a_strength_that_cannot_be_is_refused(strength: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Augmentation(**strength)


@pytest.mark.parametrize("classes", [2, 10])
def test_no_change_reads_a_value_on_the_host_which_would_wait_for_a_gpu(classes: int) -> None:
    with DryRun():  # type: ignore[no-untyped-call]
        Augmentation(**EVERYTHING)(torch.rand(8, 3, 9, 9), torch.arange(8) % classes, black=BLACK, classes=classes)
