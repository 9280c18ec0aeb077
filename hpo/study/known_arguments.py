"""The names that a study file may use for its classes' arguments: those of signatures, entries of mappings, and others.

A name with dots is an entry of an argument that is a mapping or has fields: `optim.lr`. A constructor that keeps its
`**kwargs` takes any name. The value in the file's `model:` or `data:` section, if any, is the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import nearest
from hpo.loading import is_object
from hpo.space import Argument, Owner, argument_of_value
from hpo.space.narrowing import KEYS
from hpo.space.values import in_words, is_value, simplified
from hpo.study.study_file import KeyPath

ABSENT = object()


@dataclass(frozen=True)
class Described:
    """One of a study's classes, as the process that imports it describes it.

    Attributes:
        label: its import path.
        arguments: of its constructor.
        entries: known ones of these arguments.
        takes_any: its constructor takes arguments of any name.
        given: by the study file, by name.
    """

    owner: Owner
    label: str
    arguments: tuple[Argument, ...]
    entries: tuple[Argument, ...]
    takes_any: bool
    given: Mapping[str, Any]

    @classmethod
    def of(cls, owner: Owner, label: str, plain: Mapping[str, Any], given: Mapping[str, Any]) -> Described:
        arguments, entries = (tuple(map(_argument, plain[key])) for key in ("arguments", "entries"))
        return cls(owner, label, arguments, entries, plain["takes_any"], given)

    @property
    def known(self) -> tuple[Argument, ...]:
        """The arguments and entries that are declared somewhere."""
        return (*self.arguments, *self.entries)

    def argument(self, name: str) -> Argument | None:
        """The argument or entry of this name, with the file's value as its default; None if it takes no such name."""
        known = {argument.name: argument for argument in self.known}
        value = self._value(name)
        if name in known and value is ABSENT:
            return known[name]
        if name in known:
            return replace(known[name], has_default=True, default=simplified(value) if is_value(value) else None)
        above = _above(name, known)
        takes_it = self.takes_any if above is None and "." not in name else above is not None and above.takes_entries
        if not takes_it:
            return None
        return argument_of_value(name, self.owner) if value is ABSENT else argument_of_value(name, self.owner, value)

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        """The names in the class's section of the file that it does not take: where, and a message."""
        names = [argument.name for argument in self.arguments]
        for name, value in self.given.items():
            found = self.argument(name)
            if found is None and "." in name:
                yield (self.owner, name), self.no_entry(name)
            elif found is None:
                hint = nearest(name, names)
                taken = f"{f'{hint} It' if hint else '; it'} takes {', '.join(names) or 'none'}"
                text = f"{self.label} takes no argument '{name}'{taken}"
                yield (self.owner, name), text
            else:
                yield from self._unknown_entries(found, value, (self.owner, name))

    def no_entry(self, name: str) -> str:
        """Why an entry is refused."""
        known = {argument.name: argument for argument in self.known}
        above = _above(name, known)
        if above is None:
            top = name.partition(".")[0]
            return f"{self.label} takes no argument '{top}'{nearest(top, (a.name for a in self.arguments))}"
        entry = name.removeprefix(f"{above.name}.")
        beside = [n.removeprefix(f"{above.name}.") for n in known if n.startswith(f"{above.name}.")]
        beside = [key for key in beside if "." not in key]
        if not beside:
            return f"'{above.name}' of {self.label} has no entries, so there is no '{entry}'"
        return f"'{above.name}' has no '{entry}'{nearest(entry, beside) or '.'} It has {', '.join(beside)}"

    def _unknown_entries(self, argument: Argument, value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
        if argument.hint != "dict" or not isinstance(value, Mapping) or is_object(value):
            return
        for key, item in value.items():
            name = f"{argument.name}.{key}"
            entry = self.argument(name)
            if entry is None:
                yield (*path, key), self.no_entry(name)
            else:
                yield from self._unknown_entries(entry, item, (*path, key))

    def _value(self, name: str) -> Any:
        """What the file's section gives for an argument or an entry of it."""
        if name in self.given:
            return self.given[name]
        top, *rest = name.split(".")
        node = self.given.get(top, ABSENT)
        for key in rest:
            node = node.get(key, ABSENT) if isinstance(node, Mapping) else ABSENT
        return node


@dataclass(frozen=True)
class Changes:
    """A study file's `space:` entries by the names of their parameters, and where each stands in the file."""

    by_name: Mapping[str, Any]
    paths: Mapping[str, KeyPath]


def flattened(space: Mapping[str, Any], classes: Sequence[Described]) -> tuple[Changes, list[tuple[KeyPath, str]]]:
    """The entries by one name each, as `optim: {lr: {low: ...}}` is `optim.lr: {low: ...}`; and what is wrong."""
    found: dict[str, Any] = {}
    paths: dict[str, KeyPath] = {}
    problems: list[tuple[KeyPath, str]] = []
    for name, value, path in _flat(space, classes, prefix="", path=("space",)):
        if name in found:
            problems.append((path, f"'{name}' is given twice, also as {'.'.join(map(str, paths[name][1:]))}"))
        found[name], paths[name] = value, path
        top = name.partition(".")[0]
        for described in classes:
            whole = described.given.get(top)
            if "." in name and top in described.given and not isinstance(whole, Mapping):
                text = f"'{top}' is {in_words(whole)} in {described.owner}:, which has no entries"
                problems.append((path, text))
    return Changes(found, paths), problems


def known(names: Iterable[str], classes: Sequence[Described]) -> tuple[list[Argument], list[tuple[str, str]]]:
    """All arguments of the classes and the named entries; and (name, message) of each entry that there is not."""
    arguments = {(a.owner, a.name): a for described in classes for a in described.arguments}
    problems = []
    for name in names:
        found = [a for described in classes if (a := described.argument(name)) is not None]
        # One class declares it, and the other takes any name.
        declared = [a for a in found if any((a.owner, a.name) == (b.owner, b.name) for d in classes for b in d.known)]
        for argument in declared or found:
            arguments[argument.owner, argument.name] = argument
        if not found and "." in name:
            owner = next((d for d in classes if _above(name, {a.name: a for a in d.arguments})), None)
            if owner is not None:
                problems.append((name, owner.no_entry(name)))
    return list(arguments.values()), problems


def _flat(
    space: Mapping[str, Any], classes: Sequence[Described], *, prefix: str, path: KeyPath
) -> Iterator[tuple[str, Any, KeyPath]]:
    for key, value in space.items():
        name, where = f"{prefix}{key}", (*path, key)
        if isinstance(value, Mapping) and value and not value.keys() & set(KEYS) and _has_entries(name, value, classes):
            yield from _flat(value, classes, prefix=f"{name}.", path=where)
        else:
            yield name, value, where


def _has_entries(name: str, value: Mapping[str, Any], classes: Sequence[Described]) -> bool:
    found = [argument for described in classes if (argument := described.argument(name)) is not None]
    if any(argument.hint == "dict" for argument in found):
        return True
    # Nothing is known of it, so that a misspelt bound must not be taken for an entry.
    is_nested = all(isinstance(item, Mapping | list) for item in value.values())
    return is_nested and any(argument.takes_entries for argument in found)


def _above(name: str, arguments: Mapping[str, Argument]) -> Argument | None:
    """The known argument that an entry's path leads through, the nearest one."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in arguments:
            return arguments[name]
    return None


def _argument(plain: Mapping[str, Any]) -> Argument:
    return Argument(**{**plain, "choices": tuple(plain["choices"])})
