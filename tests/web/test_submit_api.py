"""Study files that are sent to a server: whose classes they may name, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from callers import client_of
from fastapi.testclient import TestClient
from projects.launch import PROJECT, Hpo

from hpo.errors import LoadError, SpecError
from hpo.loading import CONFINED, load_class
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.service.submission import Submission
from hpo.web.audit import trail
from hpo.web.callers import Role
from hpo.web.site import Site

API = "/api/v1/studies"
YAML = {"Content-Type": "application/yaml"}


@pytest.fixture
def operator(site: Site) -> Iterator[TestClient]:
    """Of a server whose project folder is that of the tests."""
    site.project = PROJECT
    with client_of(site, Role.OPERATOR) as client:
        yield client


def text_of(tmp_path: Path, **keys: Any) -> str:
    return Hpo(tmp_path, "").study("sent", budget={"trials": 2}, **keys).read_text()


def refused(client: TestClient, text: str, status: int = 422) -> str:
    answer = client.post(API, content=text.encode(), headers=YAML, params={"file": "studies/sent.yaml"})
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def test_a_study_file_is_submitted_and_a_second_time_too(site: Site, operator: TestClient, tmp_path: Path) -> None:
    text = text_of(tmp_path)

    first = operator.post(API, content=text, headers={**YAML, "Idempotency-Key": "a"})
    again = operator.post(API, content=text, headers={**YAML, "Idempotency-Key": "a"})
    extended = operator.post(API, content=text, headers=YAML, params={"set": "budget.trials=5"})

    assert first.json()["message"] == again.json()["message"] == "study sent created: 2 trials"
    assert first.json()["study"] == "sent"
    assert extended.status_code == 200, extended.text
    assert Study(site.store, "sent").status().budget["trials"]["target"] == 5
    assert [(entry.action, entry.study) for entry in trail(site.store)] == [("submit", "sent")] * 2


def test_keys_in_json_are_a_study_file_too(site: Site, operator: TestClient) -> None:
    keys = {
        "study": "été 2",
        "model": "projects.nets:Line",
        "data": "projects.nets:Points",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "epochs": 1,
        "budget": {"trials": 1, "target": 1e-5},
        "resources": {"accelerator": "cpu"},
    }

    answer = operator.post(API, json=keys)

    assert answer.json()["study"] == "été 2", answer.text
    assert Study(site.store, "été 2").status().budget["target"]["target"] == 1e-5


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"model": "os:system"},
            "model: os:system: a study that is submitted to a server names classes of the project",
        ),
        ({"model": "os.path:join"}, "model: os.path:join: "),
        ({"model": "subprocess:Popen"}, "model: "),
        ({"model": "/tmp/x.py:Model"}, "does not name a class"),
        ({"model": "../x:Model"}, "does not name a class"),
        ({"model": "..x:Model"}, "does not name a class"),
        ({"model": "projects..nets:Line"}, "has no module 'projects..nets'"),
        ({"model": "__main__:Model"}, "has no module '__main__'"),
        ({"data": "sklearn.linear_model:LinearRegression"}, "data: sklearn.linear_model:LinearRegression: "),
        ({"model": "hpo.ipc.fork_server:ForkServer"}, "has no module 'hpo.ipc.fork_server'"),
        ({"model": ["projects.nets:Line", "torch.nn:Linear"]}, "model.1: torch.nn:Linear: "),
        ({"model": {"class": "projects.nets:Line", "net": {"class": "os:system"}}}, "model.net: os:system: "),
        ({"space": {"net": [{"class": "subprocess:Popen", "args": "id"}]}}, "subprocess:Popen: "),
        ({"trainer": {"callbacks": ["pytorch_lightning.callbacks:Timer"]}}, "pytorch_lightning.callbacks:Timer: "),
        ({"sampler": "optuna.samplers:TPESampler"}, "sampler: optuna.samplers:TPESampler: "),
        ({"pruner": {"class": "optuna.pruners:NopPruner"}}, "pruner: optuna.pruners:NopPruner: "),
        ({"start_from": ["other@sqlite:////etc/passwd"]}, "start_from.0: a study that is submitted"),
        ({"study": "../../etc"}, "study"),
    ],
)
def test_what_is_beyond_the_project_folder_is_refused(
    site: Site, operator: TestClient, tmp_path: Path, keys: dict[str, Any], words: str
) -> None:
    said = refused(operator, text_of(tmp_path, **keys))

    assert words in said
    assert said.startswith("studies/sent.yaml:")
    assert list_studies(site.store) == []


@pytest.mark.parametrize(
    ("module", "label", "is_allowed"),
    [
        ("class Net:\n    pass\n", "own:Net", True),
        ("from other import Net\n", "own:Net", True),
        ("from subprocess import Popen\n", "own:Popen", False),
        ("from collections import OrderedDict as Net\n", "own:Net", False),
        ("import types\nNet = types.new_class('Net')\nNet.__module__ = 'subprocess'\n", "own:Net", False),
        ("class Net:\n    pass\n", "json:JSONDecoder", False),
    ],
)
def test_a_class_is_defined_in_the_project_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, label: str, is_allowed: bool
) -> None:
    (tmp_path / "own.py").write_text(module)
    (tmp_path / "other.py").write_text("class Net:\n    pass\n")
    (tmp_path / "json.py").write_text("class JSONDecoder:\n    pass\n")  # Python's own goes before
    monkeypatch.setenv(CONFINED, "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own", "other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        if is_allowed:
            assert load_class(label, tmp_path).__name__ == "Net"
        else:
            with pytest.raises(LoadError, match="names classes of the project folder only"):
                load_class(label, tmp_path)
    finally:
        for name in ("own", "other"):
            sys.modules.pop(name, None)


def test_a_class_that_a_module_has_only_imported_is_refused(site: Site, operator: TestClient, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from subprocess import Popen\n")
    site.project = tmp_path

    said = refused(operator, text_of(tmp_path, model="own:Popen", data="own:Popen"))

    assert "own:Popen: a study that is submitted to a server names classes of the project folder only" in said
    assert "Popen is one of subprocess" in said


def test_a_file_that_expands_or_is_too_large_is_refused(site: Site, operator: TestClient, tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))

    assert "more than 5,000 values" in refused(operator, bomb)
    assert "too large for a study file" in refused(operator, "#" * 200_000)
    assert "1,000,000 bytes" in refused(operator, "#" * 2_000_000, 413)
    assert "bytes" in refused(operator, "#" * 10_000_000, 413)  # of any request to the server
    assert "not valid YAML" in refused(operator, "a: [")
    assert "mapping" in refused(operator, "- a")
    assert "lists and mappings in each other" in refused(operator, "a: " + "[" * 50 + "]" * 50)
    deep = operator.post(API, content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    assert deep.status_code == 422
    assert operator.post(API, content=b"\xff\xfe", headers=YAML).status_code == 422
    assert operator.post(API, content=b"a: b", headers={"Content-Type": "text/plain"}).status_code == 415
    assert list_studies(site.store) == []


def test_a_token_for_one_study_names_no_other(tmp_path: Path) -> None:
    submission = Submission(
        text_of(
            tmp_path,
            start_from=["secret"],
            model={"class": "projects.nets:Line", "weights": "trial:hidden/best"},
        ),
        studies=frozenset({"mine"}),
    )

    with pytest.raises(SpecError, match="this token") as error:
        submission.read(PROJECT)

    for name in ("sent", "secret", "hidden"):
        assert f"this token is not for a study '{name}'" in str(error.value)


def test_a_viewer_submits_nothing(site: Site, tmp_path: Path) -> None:
    refused(client_of(site, Role.VIEWER), text_of(tmp_path), 403)


def test_a_batch_that_fails_is_told(operator: TestClient, tmp_path: Path) -> None:
    said = refused(operator, text_of(tmp_path, objective={"metric": "val_nothing", "direction": "minimize"}))

    assert "val_nothing" in said


def test_the_server_imports_neither_torch_nor_the_study(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from hpo.store import Store
from hpo.web.app import application
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.tokens import create_token
url = Store.create("sqlite:///{tmp_path}/hpo.db").url
site = Site(url, Path({str(PROJECT)!r}), Path({str(tmp_path)!r}), login=True)
client = TestClient(application(site), base_url="http://127.0.0.1:8080")
client.headers["Authorization"] = "Bearer " + create_token(site.store, "one", Role.OPERATOR)
text = {text_of(tmp_path)!r}
answer = client.post("/api/v1/studies", content=text, headers={YAML!r})
assert answer.status_code == 200, answer.text
assert client.get("/api/v1/studies/sent/best").status_code == 200
print([name for name in ("torch", "pytorch_lightning", "projects.nets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT.parent)

    assert done.stdout == "[]\n", done.stderr
