"""A parameter's value from text, as a command line or a CSV file gives it: the parameter's range says of which type."""

from __future__ import annotations

from hpo.space.parameter import Parameter
from hpo.space.ranges import Choice
from hpo.space.values import Value, among

_TRUTHS = {"true": True, "false": False}
_NOTHING = ("null", "none")


def value_of_text(parameter: Parameter, text: str) -> Value:
    """The value that the text means for this parameter; the text itself where it means none.

    Whether the value lies in the parameter's range is for the range to say. A choice that is a text comes before one
    that only reads like it: of the choices '1' and 2, `1` is the text.
    """
    if isinstance(parameter.range, Choice):
        return _choice(parameter.range, text)
    return _number(text)


def _choice(range_: Choice, text: str) -> Value:
    if text in range_.choices:
        return text
    word = text.strip().lower()
    if word in _TRUTHS and among(_TRUTHS[word], range_.choices):
        return _TRUTHS[word]
    if word in _NOTHING and None in range_.choices:
        return None
    return _number(text)


def _number(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
