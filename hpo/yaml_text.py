"""Reads YAML 1.2 of people within limits, so that no text takes long, or all memory, to be refused.

A few lines can stand for millions of values (aliases of aliases), hundreds of brackets end Python's recursion, and an
integer may have more digits than Python converts. The limits are checked on the parser's events, before anything is
built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MOST_CHARACTERS = 100_000
MOST_DEPTH = 30  # of lists and mappings in each other
MOST_VALUES = 5_000  # with what aliases repeat
LARGEST_INTEGER = 2**63 - 1  # what databases and tensors hold

_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o[0-7_]+|[0-9][0-9_]*)")
_LONGEST_INTEGER = 40  # characters, to convert


class YamlLimitError(Exception):
    """The text is more than a person writes.

    Attributes:
        line: counts from 1.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def read_yaml(text: str, *, has_lines: bool = False) -> Any:
    """The value of the text.

    Args:
        has_lines: as ruamel.yaml's mappings and lists, which know their lines, in place of plain ones.

    Raises:
        YamlLimitError: it is too long or too deep, or has too many values or too large a number.
        YAMLError: it is not valid YAML.
    """
    if len(text) > MOST_CHARACTERS:
        raise YamlLimitError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}", 1)
    _Limits().check(text)
    try:
        return YAML(typ="rt" if has_lines else "safe", pure=True).load(text)
    except YAMLError:
        raise
    except Exception as error:  # such as ValueError for the 45th of a month
        raise YAMLError(str(error) or type(error).__name__) from error


@dataclass
class _Limits:
    """Where the parser is, and how many values each anchor stands for."""

    values: int = 0
    open: list[tuple[str | None, int]] = field(default_factory=list)  # (anchor, values before) of what is not closed
    anchored: dict[str, int] = field(default_factory=dict)

    def check(self, text: str) -> None:
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                self._look(event, event.start_mark.line + 1)
        except YAMLError:
            return  # the same problem is found by who builds, in its own words

    def _look(self, event: Any, line: int) -> None:
        match event:
            case MappingStartEvent() | SequenceStartEvent():
                self.open.append((event.anchor, self.values))
                self.values += 1
                if len(self.open) > MOST_DEPTH:
                    raise YamlLimitError(f"more than {MOST_DEPTH} lists and mappings in each other", line)
            case MappingEndEvent() | SequenceEndEvent():
                anchor, before = self.open.pop()
                self._note(anchor, self.values - before)
            case ScalarEvent():
                self.values += 1
                self._note(event.anchor, 1)
                if event.style is None and event.implicit[0]:
                    _check_integer(event.value, line)
            case AliasEvent():
                if event.anchor in (anchor for anchor, _ in self.open):
                    raise YamlLimitError(f"*{event.anchor} stands inside of what it repeats", line)
                self.values += self.anchored.get(event.anchor, 0)
        if self.values > MOST_VALUES:
            raise YamlLimitError(f"more than {MOST_VALUES:,} values, with those that aliases repeat", line)

    def _note(self, anchor: str | None, values: int) -> None:
        if anchor is not None:
            self.anchored[anchor] = values


def _check_integer(text: str, line: int) -> None:
    if not _INTEGER.fullmatch(text):
        return
    digits = text.replace("_", "")
    base = 16 if "x" in digits else 8 if "o" in digits else 10
    if len(digits) > _LONGEST_INTEGER or abs(int(digits, base)) > LARGEST_INTEGER:
        shown = text if len(text) <= _LONGEST_INTEGER else f"{text[:12]}..., which has {len(text):,} characters"
        raise YamlLimitError(f"an integer beyond {LARGEST_INTEGER:,}: {shown}", line)
