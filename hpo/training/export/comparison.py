"""Compares what an exported network gives with what the original gives, on all of a part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from hpo.errors import HpoError
from hpo.training.export.formats import Function
from hpo.training.export.network import Network, inputs_of

LARGEST_USUAL = 1e-4  # of the difference, relative to the largest value above 1


@dataclass
class Comparison:
    """The largest differences so far.

    Attributes:
        samples: compared.
        difference: of an output.
        magnitude: of the original's outputs.
    """

    samples: int = 0
    difference: float = 0.0
    magnitude: float = 0.0
    shapes: set[tuple[int, ...]] = field(default_factory=set)  # of the first input

    @property
    def is_small(self) -> bool:
        """Whether the outputs are the same but for rounding; values in the data's unit may be large numbers."""
        return self.difference <= LARGEST_USUAL * max(1.0, self.magnitude)

    def to_json(self) -> dict[str, Any]:
        return {"samples": self.samples, "largest_difference": self.difference, "largest_value": self.magnitude}


def compared(network: Network, exported: Function, batches: Iterable[Any]) -> Comparison:
    """The comparison on these batches.

    Raises:
        HpoError: the exported network failed, or gives outputs of other shapes.
    """
    found = Comparison()
    for batch in batches:
        inputs = inputs_of(batch).tensors
        with torch.no_grad():
            originals = network(*inputs)
            try:
                others = exported(inputs)
            except Exception as error:  # of the runtime
                shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
                raise HpoError(f"the exported network failed with inputs {shapes}: {error}") from error
        for one, other in zip(originals, others, strict=True):
            if one.shape != other.shape:
                raise HpoError(f"the exported network gives {tuple(other.shape)}, and the original {tuple(one.shape)}")
            if one.numel():
                difference = (one.double() - other.double()).abs()
                difference[one.isnan() & other.isnan()] = 0
                found.difference = max(found.difference, float(difference.nan_to_num(nan=torch.inf).max()))
                found.magnitude = max(found.magnitude, float(one.double().abs().nan_to_num(0.0).max()))
        found.samples += len(inputs[0])
        found.shapes.add(tuple(inputs[0].shape))
    return found
