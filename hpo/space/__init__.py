"""The search space of a class, read from its constructor: an argument annotated with a range is searched.

    def __init__(self, classes: int, depth: Annotated[int, Int(1, 6)] = 2) -> None

`SearchSpace.of(Class)` reads it, `override` applies a study file's `space`, `suggest` draws a point for a trial.
Models import the ranges from here and nothing else of hpo; the import takes almost no time.
"""

from __future__ import annotations

from hpo.space.constructor import takes_any_name
from hpo.space.narrowing import SpaceProblems
from hpo.space.numeric import Float, Int
from hpo.space.parameter import FromData, Owner, Parameter, When
from hpo.space.ranges import Choice, Range
from hpo.space.reading import Argument, argument_of_value, arguments_of, entry_arguments_of, label_of
from hpo.space.search_space import Resolved, SearchSpace
from hpo.space.values import Value

__all__ = [
    "Argument",
    "Choice",
    "Float",
    "FromData",
    "Int",
    "Owner",
    "Parameter",
    "Range",
    "Resolved",
    "SearchSpace",
    "SpaceProblems",
    "Value",
    "When",
    "argument_of_value",
    "arguments_of",
    "entry_arguments_of",
    "label_of",
    "takes_any_name",
]
