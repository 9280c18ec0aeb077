"""The convolutional network: every point of its space fits every image, and each knob has its documented effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from wide import wide_space

from models.cnn import CNN, MONOTONIC, _Residual

torch.set_num_threads(1)

SPACE = wide_space(CNN)
SIZES = [(1, 1), (2, 3), (5, 5), (1, 9), (8, 8), (17, 12)]


def cnn(shape: Sequence[int] = (1, 8, 8), **arguments: Any) -> CNN:
    return CNN(input_shape=tuple(shape), outputs=4, **arguments)


def kinds(layers: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers.children()]


def convolutions(model: CNN) -> list[nn.Conv2d]:
    return [layer for layer in model.blocks if isinstance(layer, nn.Conv2d)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.sampled_from(SIZES), channels=st.integers(1, 5))
def test_every_point_of_the_space_fits_every_image(seed: int, size: tuple[int, int], channels: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    point: dict[str, Any] = SPACE.suggest(study.ask())

    model = CNN(input_shape=(channels, *size), outputs=4, **point)
    loss = model.training_step((torch.rand(3, channels, *size), torch.tensor([0, 1, 3])), 0)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("point", [{}, {"depth": 1, "pooling": "none", "head": 512}, {"depth": 5, "kernel": 7}])
def test_a_large_image_fits_and_leaves_the_head_small(point: dict[str, Any]) -> None:
    model = cnn((3, 224, 160), width=8, **point)

    assert model(torch.zeros(2, 3, 224, 160)).shape == (2, 4)
    first = model.head[2]
    assert isinstance(first, nn.Linear)
    assert first.in_features <= 64 * convolutions(model)[-1].out_channels


def test_a_block_is_convolution_norm_activation_and_pooling() -> None:
    block = cnn(depth=1).blocks

    assert kinds(block) == ["Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU"]
    assert block[0].bias is None
    assert kinds(cnn(depth=1, activation="gelu").blocks) == ["Conv2d", "BatchNorm2d", "GELU", "MaxPool2d"]


@pytest.mark.parametrize("activation", MONOTONIC)
def test_pooling_before_a_monotonic_activation_gives_the_same(activation: str) -> None:
    convolution, norm, pool, act = cnn((3, 12, 12), depth=1, activation=activation).blocks
    images = torch.randn(4, 3, 12, 12)
    normed = norm(convolution(images))

    assert torch.allclose(act(pool(normed)), pool(act(normed)), rtol=0, atol=1e-6)


def test_the_activation_may_come_after_the_pooling() -> None:
    model = cnn(depth=1, convolutions=2, activation_place="after_pooling", activation="elu", pooling="average")

    assert kinds(model.blocks) == ["Conv2d", "BatchNorm2d", "ELU", "Conv2d", "BatchNorm2d", "AvgPool2d", "ELU"]


def test_without_norm_and_pooling_a_block_is_a_convolution() -> None:
    assert kinds(cnn(depth=1, batch_norm=False, pooling="none").blocks) == ["Conv2d", "ReLU"]


def test_a_residual_block_adds_its_input_before_the_last_activation() -> None:
    model = cnn((3, 8, 8), depth=2, width=16, growth=1.0, convolutions=2, residual=True)
    first, second = (block for block in model.blocks if isinstance(block, _Residual))

    assert kinds(model.blocks) == ["_Residual", "MaxPool2d", "ReLU"] * 2
    assert kinds(first.body) == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"]
    assert kinds(first.shortcut) == ["Conv2d", "BatchNorm2d"]  # 3 channels to 16
    assert isinstance(second.shortcut, nn.Identity)
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(second(x), second.body(x) + x)


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 5, 1), (1, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_residual_blocks_and_the_average_of_the_last_map_fit_every_image(size: Any, stride: int) -> None:
    model = cnn(size, depth=3, width=8, stride=stride, residual=True, global_pooling=True)

    assert model(torch.randn(4, *size)).shape[0] == 4
    assert model.head[2].in_features == 32  # a value a channel


def test_width_grows_from_block_to_block_up_to_a_bound() -> None:
    widths = [layer.out_channels for layer in convolutions(cnn((1, 32, 32), depth=5, width=100, growth=1.5))]

    assert widths == [100, 150, 225, 338, 506]
    assert convolutions(cnn(depth=5, width=128, growth=2.0))[-1].out_channels == 512


def test_the_stride_is_that_of_each_blocks_first_convolution() -> None:
    strides = [layer.stride for layer in convolutions(cnn((1, 32, 32), depth=2, convolutions=2, stride=2))]

    assert strides == [(2, 2), (1, 1), (2, 2), (1, 1)]


def test_a_kernel_covers_no_more_than_the_image() -> None:
    (layer,) = convolutions(cnn((1, 2, 1), depth=1, kernel=7))

    assert layer.kernel_size == (3, 1)


def test_a_pool_is_left_out_where_one_pixel_is_left() -> None:
    pools = [layer for layer in cnn((1, 2, 9), depth=5).blocks if isinstance(layer, nn.MaxPool2d)]

    assert [layer.kernel_size for layer in pools] == [(2, 2), (1, 2), (1, 2)]


def test_dropout_is_in_training_only() -> None:
    model = cnn(dropout=0.5)
    x = torch.rand(8, 1, 8, 8)

    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_a_grey_image_may_come_without_channels() -> None:
    assert cnn((8, 8))(torch.zeros(3, 8, 8)).shape == (3, 4)


def test_a_shape_from_a_checkpoint_is_a_list() -> None:
    model = CNN(input_shape=[1, 8, 8], outputs=4)  # type: ignore[arg-type]

    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 4)


@pytest.mark.parametrize("shape", [(64,), (1, 2, 3, 4), (1, 0, 5), ()])
def test_samples_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^CNN: takes images"):
        cnn(shape)
