"""Ridge regression in closed form."""

from __future__ import annotations

import pytest
import torch

from models.ridge import PENALTIES, solve_ridge


@pytest.mark.parametrize("samples", [12, 60])
def test_each_sample_is_predicted_by_a_regression_on_all_others(samples: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(samples, 30)
    y = x[:, :2] + torch.randn(samples, 2)

    solved = solve_ridge(x, y)

    penalties = PENALTIES * torch.linalg.eigvalsh(_centred(x) @ _centred(x).T)[1:].mean()
    left_out = torch.stack([torch.stack([_left_out(x, y, row, float(p)) for row in range(samples)]) for p in penalties])
    best = (left_out - y).square().mean((1, 2)).argmin()
    torch.testing.assert_close(solved.left_out, left_out[best], rtol=1e-3, atol=1e-3)
    weights, bias = _solved(x, y, float(penalties[best]))
    torch.testing.assert_close(solved.weights, weights, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(solved.bias, bias, rtol=1e-3, atol=1e-4)


def test_features_that_are_all_the_same_give_the_mean() -> None:
    solved = solve_ridge(torch.ones(4, 3), torch.tensor([[0.0], [1.0], [1.0], [2.0]]))

    torch.testing.assert_close(solved.weights, torch.zeros(3, 1))
    torch.testing.assert_close(solved.bias, torch.ones(1))


def _centred(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)).double()


def _solved(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    centred = _centred(x)
    weights = torch.linalg.solve(
        centred.T @ centred + penalty * torch.eye(x.shape[1]).double(), centred.T @ _centred(y)
    )
    return weights.float(), (y.mean(0) - x.mean(0) @ weights.float())


def _left_out(x: torch.Tensor, y: torch.Tensor, row: int, penalty: float) -> torch.Tensor:
    others = torch.arange(len(x)) != row
    weights, bias = _solved(x[others], y[others], penalty)
    return x[row] @ weights + bias
