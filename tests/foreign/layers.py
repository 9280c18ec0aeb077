"""A module beside the others, imported by its bare name."""

from torch import nn


def block(inputs, outputs, dropout):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))
