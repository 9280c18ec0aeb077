"""Classes of a script or notebook as they are sent to the trials."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType

import pytest

from hpo.study.by_value import pack

CELL = "class Net:\n    def __init__(self, width=8):\n        self.width = width{}\n"


def packed(monkeypatch: pytest.MonkeyPatch, source: str, *, is_known: bool = True) -> dict[str, str]:
    """The fingerprints of a notebook's class: IPython notes the text of a cell where `inspect` looks for files."""
    main, name = ModuleType("__main__"), f"<cell {hash(source)}>"
    monkeypatch.setitem(sys.modules, "__main__", main)
    if is_known:
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), vars(main))
    found: dict[str, str] = pack(["__main__:Net"])["sources"]
    return found


def test_a_notebooks_class_has_a_fingerprint_of_its_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    found, again, other = (packed(monkeypatch, CELL.format(end)) for end in ("", "  # as before", " + 1"))

    assert set(found) == {"code Net"}
    assert found == again != other


def test_a_class_whose_text_is_not_known_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed(monkeypatch, CELL.format(" + 2"), is_known=False) == {}
