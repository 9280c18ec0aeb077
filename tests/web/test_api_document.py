"""The document of `/api/v1` describes its answers, and no request, however senseless, is a fault of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from callers import client_of
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from projects.synthetic import Claimant, begin_next, create_study

from hpo.queue.findings import add_finding
from hpo.results.attempt import AttemptRecord
from hpo.results.status import StudyStatus, WorkerRecord
from hpo.results.study import Study
from hpo.service.trial_details import trial_details
from hpo.store import Store
from hpo.web.api import answers
from hpo.web.callers import Role
from hpo.web.site import Site

# Never a whole study file, since each of those starts a process
texts = st.text(max_size=30) | st.sampled_from(
    ["", "synthetic", "a/b", "..", "%2F", "\0", "\ud800", "-value", "value > 1", "`", "1" * 5000, "\x1b]0;x\x07", "nan"]
)
numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**400])
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
bodies = st.one_of(
    anything,
    st.fixed_dictionaries(
        {"points": st.lists(st.dictionaries(st.sampled_from(["lr", "depth", "optimizer"]), anything))}
    ),
    st.fixed_dictionaries(
        {"limits": st.dictionaries(st.sampled_from(["trials", "hours", "target", "patience"]), anything)}
    ),
)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with Store.create(f"sqlite:///{folder}/hpo.db") as store:
        study = create_study(store)
        worker = Claimant(store, study)
        worker.finish(begin_next(worker, 0.25, 0.5), 0.5)
        begin_next(worker, 0.1)
        with store.write() as connection:
            add_finding(connection, study.study_id, "replay", {"a": 1})
    site = Site(store.url, folder, folder, login=True)
    with client_of(site, Role.ADMIN) as client:
        yield client
    site.close()


@pytest.fixture(scope="module")
def document(admin: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = admin.get("/api/v1/openapi.json").json()
    return found


def test_the_document_is_valid_and_describes_every_answer(document: dict[str, Any]) -> None:
    validate(document)

    ours = {path: methods for path, methods in document["paths"].items() if path.startswith("/api/v1/")}
    assert len(ours) > 20
    for path, methods in ours.items():
        for method, described in methods.items():
            assert described["responses"]["200"]["content"], f"{method} {path}"
            for status in ("401", "403", "404", "409", "413", "422", "503"):
                assert "application/problem+json" in described["responses"][status]["content"], f"{method} {path}"


@pytest.mark.parametrize("model", ["TrialAnswer", "StudyAnswer", "WorkerAnswer", "AttemptAnswer", "DetailsAnswer"])
def test_answers_have_all_that_the_records_have(admin: TestClient, model: str) -> None:
    site: Site = admin.app.state.site  # type: ignore[attr-defined]
    study = Study(site.store, "synthetic")
    details = trial_details(site.store, "synthetic", 0, artifacts=site.artifacts)
    records: dict[str, set[str]] = {
        "TrialAnswer": set(study.best(1)[0].to_json()) | {"expected", "expected_low", "expected_high"},
        "StudyAnswer": set(StudyStatus.__dataclass_fields__),
        "WorkerAnswer": set(WorkerRecord.__dataclass_fields__),
        "AttemptAnswer": set(AttemptRecord.__dataclass_fields__),
        "DetailsAnswer": {*details.to_json(), "log_end"},
    }

    assert set(getattr(answers, model).model_fields) == records[model]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_request_is_a_fault_of_the_server(admin: TestClient, document: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in document["paths"] if path.startswith("/api/v1/")]))
    method = data.draw(st.sampled_from(list(document["paths"][path])))
    described = document["paths"][path][method]
    names = [one["name"] for one in described.get("parameters", []) if one["in"] == "query"]
    known = st.dictionaries(st.sampled_from(names), texts | numbers.map(str), max_size=4) if names else st.just({})
    options = data.draw(known | st.dictionaries(texts, texts, max_size=2))
    study = data.draw(st.just("synthetic") | texts)
    trial = data.draw(st.sampled_from(["0", "1"]) | numbers.map(str) | texts)
    url = path.replace("{study}", _quoted(study)).replace("{trial}", _quoted(trial))
    headers = {"Content-Type": data.draw(st.sampled_from(["application/json", "application/yaml", "text/plain", ""]))}
    if data.draw(st.booleans()):
        headers["Idempotency-Key"] = data.draw(
            st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=9)
        )
    body = data.draw(bodies.map(json.dumps).map(str.encode) | st.binary(max_size=50) | texts.map(_encoded))
    if method == "delete":
        url = path.replace("{study}", "none")

    query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in options.items())
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = admin.request(method.upper(), f"{url}?{query}", content=body, headers=encoded)  # type: ignore[arg-type]

    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"status", "title", "detail"}
        assert "Traceback" not in answer.text


def _quoted(text: str) -> str:
    return quote(_encoded(text), safe="")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
