"""Converts a text from a command line or a CSV file to a parameter's value; the type depends on the range."""

from __future__ import annotations

from hpo.space.parameter import Parameter
from hpo.space.ranges import Choice
from hpo.space.values import Value, among

_TRUTHS = {"true": True, "false": False}
_NULLS = ("null", "none")


def value_of_text(parameter: Parameter, text: str) -> Value:
    """The value of the text for this parameter; the text itself if it has no other meaning.

    It is not checked against the parameter's range. Choices that are texts come first: with the choices '1' and 1,
    `1` is the text. Lists and mappings are written as in a study file: `[64, 64]`, `{name: adam, lr: 0.01}`.
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
    if word in _NULLS and None in range_.choices:
        return None
    if word.startswith(("[", "{")):
        return _structure(text)
    return _number(text)


def _structure(text: str) -> Value:
    # Models import the ranges from this package: the YAML reader is loaded only where a point is entered.
    from ruamel.yaml.error import YAMLError

    from hpo.yaml_text import YamlLimitError, read_yaml

    try:
        read: Value = read_yaml(text)
    except (YAMLError, YamlLimitError):
        return text
    return read


def _number(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
