"""What `hpo deploy` prints, and the templates for other engines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[2] / "deploy"
IMAGE = ("--image", "example.org/hpo-service:0.1.0")


def deploy(*words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "hpo", "deploy", "kubernetes", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


@pytest.mark.parametrize("kind", ["job", "deployment"])
@pytest.mark.parametrize("more", [(), ("my study", "--gpus", "1", "--workers", "3")], ids=["plain", "filled in"])
def test_a_manifest_is_valid(kind: str, more: tuple[str, ...]) -> None:
    code, output = deploy(*more, *IMAGE, "--kind", kind)

    assert code == 0, output
    found = parsed(output)
    kubernetes_validate.validate(found, "1.33", strict=True)
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE[1]
    assert found["metadata"]["name"] == ("hpo-my-study" if more else "hpo-workers")
    if more:
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert "my study" in container["args"]
        assert 3 in (found["spec"].get("completions"), found["spec"].get("replicas"))


def test_a_mistake_in_a_manifest_would_be_found() -> None:
    found = parsed(deploy(*IMAGE)[1])
    found["spec"]["podReplacementPolisy"] = found["spec"].pop("podReplacementPolicy")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, "1.33", strict=True)


def test_a_job_of_ray_runs_the_launcher() -> None:
    code, output = deploy(*IMAGE, "--kind", "rayjob", "--workers", "5", "--gpus", "1")

    assert code == 0, output
    spec = parsed(output)["spec"]
    assert "--launcher ray --workers 5" in spec["entrypoint"]
    assert "gpus=1" in spec["entrypoint"]
    assert spec["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--image: name the image"),
        (("--image", "a image"), "--image a image: should be such as"),
        ((*IMAGE, "--kind", "cronjob"), "use job, deployment, rayjob"),
        ((*IMAGE, "--store", "sqlite:///hpo.db"), "need PostgreSQL"),
        ((*IMAGE, "--store", "postgresql://me:secretly@db/hpo"), "leave the password out"),
        ((*IMAGE, "--memory", "lots"), "--memory lots: should be such as 8Gi"),
        ((*IMAGE, "a/b"), "cannot be the name of a study"),
    ],
)
def test_a_mistake_is_told_in_words(words: tuple[str, ...], message: str) -> None:
    code, output = deploy(*words)

    assert code == 2, output
    assert message in output
    assert "secretly" not in output


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(("name", "verb", "most"), [("worker", "worker", 4.5), ("dashboard", "dashboard", 2.5)])
def test_a_unit_of_systemd_is_valid_and_exposes_little(tmp_path: Path, name: str, verb: str, most: float) -> None:
    text = (DEPLOY / f"hpo-{name}.service").read_text()
    assert f"ExecStart=/srv/hpo/venv/bin/hpo {verb} " in text
    assert "RestartPreventExitStatus=2" in text
    unit = tmp_path / f"hpo-{name}.service"
    unit.write_text(text.replace("/srv/hpo/venv/bin/hpo", "/bin/true").replace("User=hpo", "User=daemon"))

    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    # of 10, which is no protection at all; fails above the threshold
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        f"--threshold={round(most * 10)}",
        "--no-pager",
        str(unit),
    ]
    secured = subprocess.run(command, capture_output=True, text=True)
    assert secured.returncode == 0, secured.stdout


def test_a_unit_of_a_worker_drains_and_gets_its_password_as_a_file() -> None:
    text = (DEPLOY / "hpo-worker.service").read_text()

    assert "SuccessExitStatus=75" in text
    assert "LoadCredential=store-password:" in text
    drains, stops = (re.findall(rf"{word}(\d+)", text) for word in ("--drain-seconds ", "TimeoutStopSec="))
    assert int(drains[0]) + 30 <= int(stops[0])


def test_scripts_of_other_engines_are_scripts() -> None:
    for script in ("pbs.sh", "lsf.sh"):
        subprocess.run(["bash", "-n", DEPLOY / script], check=True)
        assert "hpo worker --until-idle --max-seconds" in (DEPLOY / script).read_text()
    assert parsed((DEPLOY / "skypilot.yaml").read_text())["run"] == "hpo worker --until-idle"
