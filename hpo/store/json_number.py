"""A number in a column of JSON, read by the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement


class _JsonNumber(FunctionElement[float]):
    inherit_cache = True
    type = Double()


def json_number(column: ColumnElement[str], key: str) -> ColumnElement[float]:
    """The number that a JSON object in a text column has for a key; null where it has none."""
    return _JsonNumber(column, literal(key))


@compiles(_JsonNumber, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, key = element.clauses
    return f"json_extract({compiler.process(column, **options)}, '$.' || {compiler.process(key, **options)})"


@compiles(_JsonNumber, "postgresql")
def _postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, key = element.clauses
    text = f"CAST({compiler.process(column, **options)} AS JSON) ->> {compiler.process(key, **options)}"
    return f"CAST({text} AS DOUBLE PRECISION)"
