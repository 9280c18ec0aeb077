"""Which trials of a study are asked for, in which order, and columns of them: `--where`, `--sort` and `--columns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.errors import SpecError
from hpo.results.columns import Found, Origin, TrialColumns
from hpo.results.condition import Column, Kind, matching
from hpo.results.expression import Expression, parse
from hpo.space.values import label_of_value

EXPECTED = "expected"  # in `by`, which ranks by it
_ORDER = tuple(Kind)  # of values of several kinds in one column


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        where: of the trials, an expression that holds for each; all without one.
        sort: (column, whether it descends), the first one first; by number without any.
        columns: their names; without any, those of `TrialColumns.default`.
        by: columns whose values make groups.
        by_expected: rank by what trials are expected to reach, not by their values.
        dashes: what names of options begin with in messages.
    """

    where: Expression | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    columns: tuple[str, ...] | None = None
    by: tuple[str, ...] = ()
    dashes: str = ""
    by_expected: bool = False

    @staticmethod
    def of(
        where: str | None = None,
        sort: str | Sequence[str] | None = None,
        *,
        columns: str | Sequence[str] | None = None,
        by: str | Sequence[str] | None = None,
        dashes: str = "",
    ) -> Query:
        """From what a person has written; names are separated by commas, or are items of a list.

        Raises:
            SpecError: `where` is no expression, or a name is empty.
        """
        expression = None if where is None else parse(where, option=f"{dashes}where")
        order = tuple(
            (name.removeprefix("-").strip(), name.startswith("-")) for name in _names(sort, f"{dashes}sort") or ()
        )
        chosen = None if columns is None else _names(columns, f"{dashes}columns")
        groups = _names(by, f"{dashes}by") or ()
        others = tuple(name for name in groups if name != EXPECTED)
        return Query(expression, order, chosen, others, dashes, by_expected=EXPECTED in groups)

    @property
    def is_narrow(self) -> bool:
        """Whether it asks for anything but all trials by number."""
        return self.where is not None or bool(self.sort or self.by or self.by_expected)


Table = Mapping[str, Sequence[Any]]  # by the name that is shown, the values of each trial


def chosen_trials(source: TrialColumns, query: Query) -> list[int]:
    """The store's ids of the trials that are asked for, in the order that is asked for.

    Raises:
        SpecError: there is no such column, or an expression compares what cannot be compared.
    """
    names = [] if query.where is None else list(query.where.names)
    tested = {name: _tested(source, name, query) for name in names}
    sorted_by = [(source.find(name, option=f"{query.dashes}sort"), falls) for name, falls in query.sort]
    read = source.read([*tested.values(), *(one for one, _ in sorted_by)])
    places = list(range(len(source.trial_ids)))
    if query.where is not None:
        places = matching(query.where, {name: read[one] for name, one in tested.items()}, len(places))
    for one, falls in reversed(sorted_by):  # Python's sort keeps the order of equal ones
        places = _sorted(places, read[one], falls=falls)
    return [source.trial_ids[place] for place in places]


def _tested(source: TrialColumns, name: str, query: Query) -> Found:
    try:
        return source.find(name, option=f"{query.dashes}where")
    except SpecError as error:
        raise SpecError(f"{error}. A text is written in quotes: '{name}'") from None


def groups_of(source: TrialColumns, query: Query) -> dict[int, tuple[Any, ...]]:
    """By trial_id, the values of the columns that make groups."""
    found = [source.find(name, option=f"{query.dashes}by") for name in query.by]
    read = source.read(found)
    values = [[_hashable(value) for value in read[one].values] for one in found]
    return dict(zip(source.trial_ids, zip(*values, strict=True), strict=True))


def table_of(source: TrialColumns, query: Query, trial_ids: Sequence[int]) -> Table:
    """The columns that are asked for, of these trials in their order.

    A parameter is called `params_NAME`, as in a table of all columns; others as they were asked for.

    Raises:
        SpecError: there is no such column.
    """
    shown: dict[str, Found] = {}
    if query.columns is None:
        shown = {one.label: one for one in source.default()}
    for name in query.columns or ():
        one = source.find(name, option=f"{query.dashes}columns")
        shown[one.label if one.origin == Origin.PARAMETER else name] = one
    read = source.read(shown.values())
    place_of = {trial_id: place for place, trial_id in enumerate(source.trial_ids)}
    places = [place_of[trial_id] for trial_id in trial_ids]
    return {name: [read[one].values[place] for place in places] for name, one in shown.items()}


def rows_of(table: Table) -> list[dict[str, Any]]:
    """A mapping a trial."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _sorted(places: Sequence[int], column: Column, *, falls: bool) -> list[int]:
    """By the values of a column; trials without one are the last in either direction."""
    have = [place for place in places if column.values[place] is not None]
    lack = [place for place in places if column.values[place] is None]
    return [*sorted(have, key=lambda place: _key(column.values[place]), reverse=falls), *lack]


def _key(value: Any) -> tuple[int, Any]:
    kind = Kind.of(value)
    assert kind is not None
    return _ORDER.index(kind), label_of_value(value) if kind == Kind.LIST else value


def _hashable(value: Any) -> Any:
    return label_of_value(value) if isinstance(value, list | dict) else value


def _names(given: str | Sequence[str] | None, option: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))
    if not all(names):
        raise SpecError(f"{option}: a name is missing: names are separated by commas, as in number,value")
    return names
