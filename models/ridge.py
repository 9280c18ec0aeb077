"""Ridge regression in closed form, with the penalty that is best for samples that were left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PENALTIES = torch.logspace(-5, 2, 15, dtype=torch.float64)  # relative to the mean eigenvalue of the samples' products

SMALLEST = 1e-9  # mean eigenvalue; features that are all the same have 0


class Ridge(NamedTuple):
    """
    Attributes:
        weights: (features, targets).
        bias: (targets,).
        left_out: predictions (samples, targets), each from all the other samples.
    """

    weights: Tensor
    bias: Tensor
    left_out: Tensor


def solve_ridge(features: Tensor, targets: Tensor) -> Ridge:
    """Ridge regression (Hoerl and Kennard 1970, Technometrics 12) of few samples with many features.

    The penalty is the one of 15 with the least squared error of each sample in a regression on all the others, which is
    known without solving them all (Allen 1974, Technometrics 16).

    Args:
        features: (samples, features), of two samples or more.
        targets: (samples, targets).
    """
    features, targets = features.double(), targets.double()
    centre, mean = features.mean(0), targets.mean(0)
    x, y = features - centre, targets - mean
    products = x @ x.T
    # The constant, which the means have taken, is made the largest eigenvector, and left out.
    values, vectors = torch.linalg.eigh(products + (1 + products.trace()) / len(x))
    values, vectors = values[:-1].clamp(min=0), vectors[:, :-1]
    turned = vectors.T @ y
    found = []
    for penalty in PENALTIES * max(float(values.mean()), SMALLEST):
        dual = vectors @ (turned / (values + penalty)[:, None])
        residual = dual / (vectors.square() / (values + penalty)).sum(1, keepdim=True)
        found.append((float(residual.square().mean()), dual, residual))
    _, dual, residual = min(found, key=lambda one: one[0])
    weights = x.T @ dual
    return Ridge(weights.float(), (mean - centre @ weights).float(), (targets - residual).float())
