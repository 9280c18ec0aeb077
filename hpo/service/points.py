"""Points to enqueue as people write them: `lr=1e-3 depth=2`, or a CSV file with a header of parameter names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from hpo.errors import SpecError
from hpo.queue.enqueue import Point


def point_of_words(words: Sequence[str]) -> Point:
    """The point of words such as `lr=1e-3`.

    Raises:
        SpecError: a word is not NAME=VALUE, or a name is given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise SpecError(f"'{word}' should be NAME=VALUE, such as lr=1e-3")
        if name in values:
            raise SpecError(f"'{name}' is given twice: {name}={values[name]} and {word}")
        values[name] = text
    return Point(values, is_text=True)


def read_points(file: Path) -> list[Point]:
    """The points of a CSV file, a row each; an empty cell leaves the parameter to the sampler, or inactive.

    Raises:
        SpecError: the file cannot be read, has no header or no rows, or rows do not fit the header; all of them.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{file} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise SpecError(f"{file} is empty: it should have a header of parameter names, and a row a point")
    header = [name.strip() for name in rows[0][1]]
    problems = [
        f"{file}:{rows[0][0]}: '{name}' appears twice"
        for name in dict.fromkeys(header)
        if name and header.count(name) > 1
    ]
    if "" in header:
        problems.append(f"{file}:{rows[0][0]}: column {header.index('') + 1} has no name")
    points = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            problems.append(f"{file}:{line}: {len(row)} cells, and the header has {len(header)}")
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=False) if cell.strip()}
        points.append(Point(cells, f"{file}:{line}", is_text=True))
    if problems:
        raise SpecError("\n".join(problems))
    if not points:
        raise SpecError(f"{file} has a header and no points: write a row for each")
    return points
