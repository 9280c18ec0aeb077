"""TabM: members share their weights, differ from the start, learn apart, and answer together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.losses import balanced_weights
from models.tabm import TabM


def tabm(**arguments: Any) -> TabM:
    torch.manual_seed(0)
    small = {"in_features": 6, "outputs": 3, "width": 16, "members": 4, "number_embedding": "none"}
    return TabM(**{**small, **arguments})


X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def test_a_member_is_a_network_of_the_shared_weights_with_its_own_scalings_and_biases() -> None:
    model = tabm(depth=2).eval()
    found = model.of_members(X)
    for number in range(4):
        x = X
        for layer in [*model.hidden][::3]:
            scaled: Any = layer
            weight = scaled.after[number].unsqueeze(1) * scaled.weight * scaled.before[number]
            x = functional.linear(x, weight, scaled.bias[number]).relu()
        torch.testing.assert_close(found[:, number], x @ model.head.weight[number] + model.head.bias[number])


def test_members_differ_from_the_start_and_in_dropout() -> None:
    model = tabm(members=8)
    first: Any = model.hidden[0]
    assert set(first.before.detach().flatten().tolist()) == {-1.0, 1.0}
    assert len(torch.unique(first.before, dim=0)) == 8
    with torch.no_grad():
        for weights in (first.before, model.head.weight, model.head.bias):
            weights.copy_(weights[:1].expand_as(weights))  # now only dropout tells them apart
    assert len(torch.unique(model.of_members(X), dim=1)[0]) == 8
    assert len(torch.unique(model.eval().of_members(X)[0], dim=0)) == 1


def test_all_numbers_of_a_vector_start_with_the_same_scaling() -> None:
    model = tabm(number_embedding="periodic", number_embedding_size=5, cardinalities=(7,))
    first: Any = model.hidden[0]
    vectors = first.before.detach().split([5] * 6 + [3], dim=1)
    assert all(torch.equal(vector, vector[:, :1].expand_as(vector)) for vector in vectors)
    assert len({vector[0, 0].item() for vector in vectors}) == 7


def test_the_outputs_are_logits_of_the_mean_of_the_members_probabilities() -> None:
    several = tabm().eval()
    torch.testing.assert_close(several(X).softmax(-1), several.of_members(X).softmax(-1).mean(1))
    torch.testing.assert_close(several.predict_step(X, 0), several.of_members(X).softmax(-1).mean(1))
    two = tabm(task="binary", outputs=1).eval()
    torch.testing.assert_close(two.predict_step(X, 0), two.of_members(X).sigmoid().mean(1).squeeze(-1))
    values = tabm(task="regression", outputs=2, target_mean=(1.0, 2.0), target_scale=(3.0, 4.0)).eval()
    expected = values.of_members(X).mean(1) * torch.tensor([3.0, 4.0]) + torch.tensor([1.0, 2.0])
    torch.testing.assert_close(values.predict_step(X, 0), expected)


@pytest.mark.parametrize("name", ["depth", "members"])
def test_there_is_a_layer_and_a_member(name: str) -> None:
    with pytest.raises(ValueError, match=f"TabM: {name} 0 should be at least 1"):
        tabm(**{name: 0})


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_certain_members_leave_finite_outputs(task: Any) -> None:
    model = tabm(task=task, outputs=1 if task == "binary" else 3).eval()
    outputs = model(1e4 * X)
    assert outputs.isfinite().all()
    assert outputs.abs().max() > 100


def mean_loss(model: TabM, targets: Tensor, **options: Any) -> float:
    """The mean of each member's own loss."""
    of_each = [functional.cross_entropy(outputs, targets, **options) for outputs in model.of_members(X).unbind(1)]
    return torch.stack(of_each).mean().item()


def test_each_member_has_a_loss_of_its_own_with_smoothing_weights_and_probabilities() -> None:
    classes = torch.arange(8) % 3
    plain = tabm(dropout=0.0)
    assert plain.training_step((X, classes), 0).item() == pytest.approx(mean_loss(plain, classes), rel=1e-5)
    assert plain.training_step((X, classes), 0) > functional.cross_entropy(plain(X), classes)  # which is of their mean

    counts = (5, 2, 1)
    weighted = tabm(dropout=0.0, label_smoothing=0.2, class_weight="balanced", class_counts=counts)
    expected = mean_loss(weighted, classes, weight=balanced_weights(counts), label_smoothing=0.2)
    assert weighted.training_step((X, classes), 0).item() == pytest.approx(expected, rel=1e-5)

    mixed = torch.rand(8, 3).softmax(1)
    assert plain.training_step((X, mixed), 0).item() == pytest.approx(mean_loss(plain, mixed), rel=1e-5)


def test_values_and_two_classes_are_learnt_by_each_member() -> None:
    for task, targets in (("regression", torch.randn(8, 1)), ("binary", torch.arange(8) % 2)):
        model = tabm(task=task, outputs=1, dropout=0.0)
        outputs = model.of_members(X)
        expected = torch.stack(
            [
                functional.mse_loss(each, targets)
                if task == "regression"
                else functional.binary_cross_entropy_with_logits(each.squeeze(-1), targets.float())
                for each in outputs.unbind(1)
            ]
        ).mean()
        torch.testing.assert_close(model.training_step((X, targets), 0), expected)
