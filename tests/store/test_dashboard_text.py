"""What the dashboard sends of hostile names and choices."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import optuna
from hypothesis import given
from hypothesis import strategies as st

from hpo.dashboard.application import dashboard_of
from hpo.dashboard.storage import ShownStorage
from hpo.dashboard.text import as_text
from hpo.printable import printable
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

HOSTILE = "[/a]<b>x</b>\u202etxt\u2066\x1b[2J\\u202e\N{GRINNING FACE}"


def get(app: Any, path: str) -> bytes:
    """The body of an answer, which has the length that it says."""
    heads: dict[str, str] = {}

    def start(_status: str, headers: list[tuple[str, str]], _exc_info: Any = None, /) -> Any:
        heads.update({name.lower(): value for name, value in headers})

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "1"}
    environ |= {"wsgi.input": io.BytesIO(), "wsgi.url_scheme": "http", "HTTP_ACCEPT_ENCODING": ""}  # type: ignore[dict-item]
    body = b"".join(app(environ, start))
    assert heads["content-length"] == str(len(body))
    return body


def test_the_dashboard_sends_hostile_texts_as_text(store: Store, tmp_path: Path) -> None:
    with optuna_storage(store.url, kind=ShownStorage) as storage:
        study = optuna.create_study(storage=storage, study_name=HOSTILE)
        category = optuna.distributions.CategoricalDistribution([HOSTILE + "\ud800", "b"])
        study.add_trial(
            optuna.create_trial(
                params={HOSTILE: HOSTILE + "\ud800"},
                distributions={HOSTILE: category},
                value=1.0,
                user_attrs={"note": HOSTILE},
            )
        )
        app = dashboard_of(storage, tmp_path)

        listed = json.loads(get(app, "/api/studies"))["study_summaries"][0]
        trial = json.loads(get(app, "/api/studies/1"))["trials"][0]

        plain = optuna.create_study(storage=storage, study_name="plain")
        plain.add_trial(optuna.create_trial(value=1.0, user_attrs={"note": HOSTILE}))
        csv = get(app, "/csv/2").decode()

    assert listed["study_name"] == printable(HOSTILE)
    assert trial["params"][0]["name"] == printable(HOSTILE)
    assert trial["params"][0]["param_external_value"] == printable(HOSTILE + "\ud800")
    assert trial["user_attrs"][0]["value"] == printable(HOSTILE)
    assert csv == printable(csv)
    assert r"\u202etxt" in csv


@given(st.text(st.characters(codec=None)))
def test_any_text_of_a_json_answer_arrives_as_it_may_be_printed(text: str) -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [json.dumps({"text": text}).encode()]

    found = json.loads(get(as_text(app), "/api/studies"))["text"]

    assert found == "".join(map(printable, text))
