"""The published networks: their layouts at the published size, and every point of their spaces on small images."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from wide import wide_space

from models.base import Supervised
from models.classic import TABLE_I, AlexNet, LeNet5, ZFNet

torch.set_num_threads(1)

IMAGENET: Any = {"input_shape": (3, 224, 224), "outputs": 1000}
HEAD = (256 * 6 * 6 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)


def parameters_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def maps_of(model: Any, x: Tensor) -> list[tuple[int, ...]]:
    """Shapes (maps, height, width) after each convolution and each pool."""
    shapes = []
    for layer in model.convolutions:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(x.shape[1:]))
    return shapes


def test_lenet_5_has_the_papers_parameters_but_for_the_output() -> None:
    c1, s2 = 6 * 25 + 6, 6 * 2
    c3, s4 = (6 * 3 + 9 * 4 + 1 * 6) * 25 + 16, 16 * 2
    c5, f6, output = 16 * 25 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10

    assert (c1, s2, c3, s4, c5, f6) == (156, 12, 1516, 32, 48120, 10164)  # the paper's own numbers
    assert parameters_of(LeNet5(input_shape=(1, 32, 32), outputs=10)) == c1 + s2 + c3 + s4 + c5 + f6 + output


def test_lenet_5_has_the_connections_of_the_papers_table() -> None:
    seen_by = ["".join("X" if group in row else "." for row in TABLE_I) for group in range(6)]

    assert seen_by == [
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]


@pytest.mark.parametrize("width", [1, 2])
def test_a_map_of_c3_depends_on_the_maps_that_the_table_names(width: int) -> None:
    third = LeNet5(input_shape=(1, 32, 32), outputs=10, width=width).layers[4]
    maps = torch.rand(1, 6 * width, 14, 14, requires_grad=True)

    groups = [third(maps)[0, width * number].sum() for number in range(16)]
    seen = []
    for sum_ in groups:
        (slope,) = torch.autograd.grad(sum_, maps, retain_graph=True)
        seen.append(slope[0].abs().sum((1, 2)).reshape(6, width).sum(1).nonzero().flatten().tolist())

    # grouped by how many maps are seen: 3, 4 and 6, as the table has them
    assert seen == [list(row) for row in TABLE_I]


def test_alexnet_has_the_published_parameters_and_maps() -> None:
    model = AlexNet(**IMAGENET)
    convolutions = (
        (3 * 121 * 96 + 96)
        + (48 * 25 * 256 + 256)
        + (256 * 9 * 384 + 384)
        + (192 * 9 * 384 + 384)
        + (192 * 9 * 256 + 256)
    )

    assert parameters_of(model) == convolutions + HEAD == 60_965_224
    assert maps_of(model, torch.zeros(1, 3, 224, 224)) == [
        *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]


def test_zfnet_has_the_published_parameters_and_maps() -> None:
    model = ZFNet(**IMAGENET)
    convolutions = (
        (3 * 49 * 96 + 96)
        + (96 * 25 * 256 + 256)
        + (256 * 9 * 384 + 384)
        + (384 * 9 * 384 + 384)
        + (384 * 9 * 256 + 256)
    )

    assert parameters_of(model) == convolutions + HEAD == 62_357_608
    assert maps_of(model, torch.zeros(1, 3, 224, 224)) == [
        *((96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]


def test_a_response_is_normalised_by_its_neighbours_as_the_paper_says() -> None:
    norm = next(layer for layer in AlexNet((1, 8, 8), 2, 0.1).convolutions if isinstance(layer, nn.LocalResponseNorm))
    maps = 100 * torch.rand(1, 7, 1, 1)

    neighbours = maps[0, 1:6].square().sum()
    torch.testing.assert_close(norm(maps)[0, 3], maps[0, 3] / (2 + 1e-4 * neighbours) ** 0.75)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([(1, 1), (2, 3), (5, 5), (8, 8), (28, 28), (33, 7), (64, 48)]),
    channels=st.integers(1, 4),
    model_class=st.sampled_from([LeNet5, AlexNet, ZFNet]),
)
def test_every_point_fits_every_image(
    seed: int, size: tuple[int, int], channels: int, model_class: type[Supervised]
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    point: dict[str, Any] = wide_space(model_class).suggest(study.ask())
    if model_class is not LeNet5:
        point["width"] = 1 / 16

    arguments: dict[str, Any] = {"input_shape": (channels, *size), "outputs": 3, **point}
    model = model_class(**arguments)
    loss = model.training_step((torch.rand(2, channels, *size), torch.tensor([0, 2])), 0)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("model_class", [AlexNet, ZFNet])
@pytest.mark.parametrize(("side", "last"), [(512, 6), (224, 6), (128, 3), (64, 3), (28, 3), (8, 1), (1, 1)])
def test_the_last_map_keeps_some_pixels_where_it_can(model_class: type[Any], side: int, last: int) -> None:
    convolutions = model_class((1, side, side), 2, 1 / 16).convolutions
    shape = convolutions(torch.zeros(1, 1, side, side)).shape

    assert shape[2] == shape[3]
    assert last - 1 <= shape[2] <= last + 1


def test_maps_and_units_are_even_at_any_width() -> None:
    model = AlexNet((1, 28, 28), 2, width=0.0701)

    counts = [layer.out_channels for layer in model.convolutions if isinstance(layer, nn.Conv2d)]
    assert counts == [6, 18, 26, 26, 18]


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (8, 8), (48, 20)])
def test_lenet_5_sees_32_pixels_in_each_direction(size: tuple[int, int]) -> None:
    model = LeNet5(input_shape=(1, *size), outputs=10)

    assert model.fitted(torch.rand(2, 1, *size)).shape == (2, 1, 32, 32)


def test_lenet_5_frames_what_is_a_little_smaller() -> None:
    image = torch.rand(1, 1, 28, 28)

    framed = LeNet5(input_shape=(1, 28, 28), outputs=10).fitted(image)

    assert torch.equal(framed[:, :, 2:30, 2:30], image)
    assert framed.sum().item() == pytest.approx(image.sum().item())


@pytest.mark.parametrize("model_class", [LeNet5, AlexNet, ZFNet])
def test_samples_that_are_no_images_are_refused(model_class: type[Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{model_class.__name__}: takes images"):
        model_class(input_shape=(30,), outputs=2)
