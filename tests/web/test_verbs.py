"""The verbs of the server's users, tokens and trail, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from callers import PASSWORD, client_of
from projects.synthetic import create_study
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import HpoError
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.tokens import caller_with
from hpo.web.users import verified


def run(site: Site, *arguments: str) -> str:
    """What a verb prints on stdout.

    Raises:
        HpoError: the verb refused, with the message that the command prints.
    """
    done = CliRunner().invoke(app, [*arguments, "--store", f"sqlite:///{site.url.path}"])
    if isinstance(done.exception, HpoError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def file(tmp_path: Path) -> str:
    """One with a password."""
    written = tmp_path / "password"
    written.write_text(f"{PASSWORD}\r\nnot this line\n")
    return str(written)


def test_a_user_is_added_listed_changed_and_removed(site: Site, file: str) -> None:
    assert "ann may log in as viewer" in run(site, "user", "add", "ann", "--role", "viewer", "--password-file", file)
    user = verified(site.store, "ann", PASSWORD)
    assert user is not None

    with pytest.raises(HpoError, match="--replace"):
        run(site, "user", "add", "ann", "--role", "admin", "--password-file", file)
    run(site, "user", "add", "ann", "--role", "admin", "--password-file", file, "--replace")

    listed = json.loads(run(site, "user", "list", "--json"))
    assert [(one["name"], one["role"]) for one in listed] == [("ann", "admin")]
    assert PASSWORD not in run(site, "user", "list")
    run(site, "user", "remove", "ann")
    assert "nobody may log in" in run(site, "user", "list")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "add", "ann", "--role", "root"), "the roles are viewer, operator, admin"),
        (("user", "add", "ann", "--role", "viewer"), "--password-file FILE"),
        (("user", "add", "ann", "--role", "viewer", "--password-file", "none"), "none: No such file"),
        (("user", "add", "a b", "--role", "viewer"), "1 to 64 letters"),
        (("user", "remove", "bob"), "no user 'bob'"),
        (("token", "create", "ci", "--role", "viewer", "--expires", "soon"), "90m, 12h or 30d"),
        (("token", "create", "ci", "--role", "viewer", "--study", "x"), "no study 'x'"),
        (("token", "revoke", "ci"), "no valid token 'ci'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(site: Site, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(HpoError, match=words):
        run(site, *arguments)


def test_a_token_is_printed_once_and_alone(site: Site) -> None:
    create_study(site.store)
    printed = run(site, "token", "create", "ci", "--role", "operator", "--study", "synthetic", "--expires", "12h")

    caller = caller_with(site.store, printed.removesuffix("\n"))
    assert caller is not None
    assert (caller.name, caller.role, caller.studies) == ("token ci", Role.OPERATOR, frozenset({"synthetic"}))
    listed = run(site, "token", "list")
    assert "valid" in listed
    assert printed.strip() not in listed
    run(site, "token", "revoke", "ci")
    assert json.loads(run(site, "token", "list", "--json"))[0]["state"] == "revoked"


def test_the_trail_is_printed(site: Site) -> None:
    create_study(site.store)
    client_of(site, Role.OPERATOR).put("/api/studies/1/note", json={"version": 1, "body": "x"})

    entries = json.loads(run(site, "audit", "--study", "synthetic", "--json"))

    assert [(entry["action"], entry["study"]) for entry in entries] == [("note", "synthetic")]
    assert "note" in run(site, "audit")
    assert json.loads(run(site, "audit", "--study", "other", "--json")) == []
