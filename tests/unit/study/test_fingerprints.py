"""Fingerprints of data and code: what changes them, and what does not."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpo.study import fingerprints
from hpo.study.fingerprints import (
    MISSING,
    changed_inputs,
    code_fingerprints,
    data_paths,
    in_a_line,
    inputs_of,
    inputs_to_continue,
    library_versions,
    of_path,
    of_source,
)

SOURCE = '''
"""A module."""
import math

class Net:
    """A network."""

    def forward(self, x, *, scale=1.0):
        # as in the paper
        return f"{x * scale:.2f}" if x else math.inf
'''


@pytest.mark.parametrize(
    "change",
    [
        ("# as in the paper", "# otherwise\n"),
        ('"""A network."""', '"""Another text."""'),
        ("x, *, scale=1.0", "x,  *,\n        scale = 1.0"),
        ("import math\n", "import math\n\n\n\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_a_modules_fingerprint(change: tuple[str, str]) -> None:
    changed = SOURCE.replace(*change)

    assert changed != SOURCE
    assert of_source(changed) == of_source(SOURCE)


@pytest.mark.parametrize(
    "change",
    [("scale=1.0", "scale=1.5"), ("x * scale", "x + scale"), ("math.inf", "math.nan"), (":.2f", ":.3f"), ("*, ", "")],
)
def test_whatever_else_is_changed_changes_it(change: tuple[str, str]) -> None:
    assert of_source(SOURCE.replace(*change)) != of_source(SOURCE)


def test_the_same_nodes_in_another_nesting_are_another_fingerprint() -> None:
    nested = "def f():\n    if a:\n        b()\n        c()\n"
    assert of_source(nested) != of_source("def f():\n    if a:\n        b()\n    c()\n")


def test_a_module_that_is_not_python_has_a_fingerprint_too() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("def f(:")
    assert of_source("def f(:") != of_source("def g(:")


def test_the_projects_modules_are_those_imported_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_fingerprints").mkdir()
    (tmp_path / "nets_of_fingerprints" / "__init__.py").write_text("")
    (tmp_path / "nets_of_fingerprints" / "small.py").write_text("SIZE = 1\n")
    (tmp_path / "nets_of_fingerprints" / "unused.py").write_text("SIZE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    import nets_of_fingerprints.small  # type: ignore[import-not-found]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "made_up", SimpleNamespace(__file__="nets.py"))  # as some of torch's are
    found = code_fingerprints(tmp_path)

    assert nets_of_fingerprints.small.SIZE == 1
    assert set(found) == {"code nets_of_fingerprints/__init__.py", "code nets_of_fingerprints/small.py"}
    (tmp_path / "nets_of_fingerprints" / "small.py").unlink()
    assert code_fingerprints(tmp_path)["code nets_of_fingerprints/small.py"] == MISSING
    for name in ("nets_of_fingerprints.small", "nets_of_fingerprints"):
        del sys.modules[name]


def test_the_versions_of_libraries_are_those_of_what_the_projects_modules_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import json\nimport numpy as np\nfrom torch.nn import Linear\n\ndef late():\n    import pandas\n"
    (tmp_path / "nets_with_libraries.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import nets_with_libraries  # type: ignore[import-not-found]
    import numpy
    import torch

    found = library_versions(tmp_path)

    assert nets_with_libraries.np is numpy
    assert found == {"numpy": numpy.__version__, "torch": torch.__version__}
    assert library_versions(tmp_path / "elsewhere") == {}
    del sys.modules["nets_with_libraries"]


def test_paths_are_found_in_arguments_lists_and_mappings(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "images").mkdir()
    data = ["a.csv", {"parts": ["b.csv", 3, None]}, "images", "target", "x" * 5000, "", ".", "\0"]

    found = data_paths({"data": data, "model": ["c.txt", "images", 0.5]}, tmp_path)

    assert {name: path.name for name, path in found.items()} == {
        "data a.csv": "a.csv",
        "data b.csv": "b.csv",
        "data images": "images",
        "data c.txt": "c.txt",
    }


def test_a_folder_changes_with_the_names_and_the_contents_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"one")
    before = of_path(tmp_path)

    (tmp_path / "cats" / "1.png").write_bytes(b"two")
    other_contents = of_path(tmp_path)
    (tmp_path / "cats" / "2.png").write_bytes(b"one")
    one_more = of_path(tmp_path)
    (tmp_path / "cats" / "2.png").rename(tmp_path / "cats" / "3.png")

    assert len({before, other_contents, one_more, of_path(tmp_path)}) == 4
    (tmp_path / "cats" / "3.png").unlink()
    assert of_path(tmp_path) == other_contents
    assert of_path(tmp_path / "dogs") == MISSING


def test_of_much_data_samples_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "MOST_BYTES_READ", 1000)
    monkeypatch.setattr(fingerprints, "_SAMPLE", 100)
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(5000))
    before, of_folder = of_path(large), of_path(tmp_path)

    large.write_bytes(bytes(4999) + b"1")  # at its end
    at_end, at_end_of_folder = of_path(large), of_path(tmp_path)
    large.write_bytes(bytes(5001))

    assert len({before, at_end, of_path(large)}) == 3
    assert len({of_folder, at_end_of_folder, of_path(tmp_path)}) == 3


def test_changes_are_told_by_what_was_changed(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text(name)
    paths = {f"data {name}": tmp_path / name for name in ("a.csv", "b.csv", "c.csv")}
    before = inputs_of({"code nets.py": "1", "code old.py": "1"}, paths)
    (tmp_path / "a.csv").write_text("other")
    (tmp_path / "b.csv").unlink()

    now = inputs_of({"code nets.py": "2", "code new.py": "1"}, paths)

    assert changed_inputs(now, before) == [
        "code nets.py: other contents",
        "code new.py: not used before",
        "code old.py: no longer used",
        "data a.csv: other contents",
        "data b.csv: not there",
    ]
    assert in_a_line(changed_inputs(now, before)) == (
        "code nets.py: other contents; code new.py: not used before; and 3 more"
    )
    made = before | {"data made.log": "1"}  # by the trials
    assert changed_inputs(made, before) == []
    assert inputs_to_continue(made, before) == before == inputs_to_continue({}, before)
    assert inputs_to_continue(now, before) == inputs_to_continue(now, {}) == now
    assert changed_inputs(now, {}) == changed_inputs({}, before) == changed_inputs(now, now) == []
