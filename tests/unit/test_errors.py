"""A failure in a line."""

from __future__ import annotations

import pytest

from hpo.errors import failure_in_words


@pytest.mark.parametrize(
    ("cause", "error", "line"),
    [
        ("error: ValueError", "Traceback ...\nValueError: too large\n", "error: ValueError: too large"),
        (
            "error: ValueError",
            "Traceback ...\npkg.ValueError: too large",
            "error: ValueError: pkg.ValueError: too large",
        ),
        ("error: ValueError", "ValueError", "error: ValueError"),
        ("error: SpecError", "lr is too large", "error: SpecError: lr is too large"),
        ("crash", "its process exited with -9", "crash: its process exited with -9"),
        ("stalled", "", "stalled"),
        ("stopped: by request", None, "stopped: by request"),
    ],
)
def test_a_failure_names_its_kind_once(cause: str, error: str | None, line: str) -> None:
    assert failure_in_words(cause, error) == line
