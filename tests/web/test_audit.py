"""The audit trail: written before the change, so that none is missing; taken back where nothing was changed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from fastapi import HTTPException

from hpo.errors import SpecError
from hpo.store import Store
from hpo.web.audit import audited, trail
from hpo.web.callers import Caller, Role

ANN = Caller("ann", Role.OPERATOR)
KILLED = """
import os, signal, sys
from hpo.store import Store
from hpo.web.audit import audited
from hpo.web.callers import Caller, Role
with Store.open(sys.argv[1]) as store, audited(store, Caller("ann", Role.OPERATOR), "pause", study="s", trial=1):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def entries(store: Store) -> list[tuple[str, str, str | None, Any]]:
    return [(entry.caller, entry.action, entry.study, entry.detail) for entry in trail(store)]


def test_a_change_is_in_the_trail_before_it_is_made_and_its_outcome_after(store: Store) -> None:
    with audited(store, ANN, "delete", study="s") as detail:
        assert entries(store) == [("ann", "delete", "s", {})]
        detail["trials"] = 3

    assert entries(store) == [("ann", "delete", "s", {"trials": 3})]


@pytest.mark.parametrize("error", [SpecError("no such study"), HTTPException(503, "later")])
def test_what_was_refused_leaves_no_entry(store: Store, error: Exception) -> None:
    with pytest.raises(type(error)), audited(store, ANN, "pause", study="s"):
        raise error

    assert entries(store) == []


def test_an_error_of_ours_leaves_it_since_nobody_knows_what_was_changed(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), audited(store, ANN, "pause", study="s"):
        raise ZeroDivisionError

    assert entries(store) == [("ann", "pause", "s", {})]


def test_a_server_that_is_killed_meanwhile_has_written_it(sqlite_store: Store) -> None:
    code = subprocess.run([sys.executable, "-c", KILLED, sqlite_store.url.reveal()], check=False).returncode

    assert code == -9
    assert entries(sqlite_store) == [("ann", "pause", "s", {"trial": 1})]
