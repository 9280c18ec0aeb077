"""The project folder goes to nodes of a Ray cluster that lack it; GPUs nobody asked for are hidden."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects.launch import PROJECT, Hpo
from ray_cluster import ray_cluster

if TYPE_CHECKING:
    from conftest import PostgresServer


def test_the_project_folder_travels_with_the_job_and_gpus_are_hidden(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as on a node with a GPU, which Ray leaves visible
    project = tmp_path / "mine"
    shutil.copytree(PROJECT / "projects", project / "projects", ignore=shutil.ignore_patterns("__pycache__"))
    places = tmp_path / "places"
    with (project / "projects" / "nets.py").open("a") as file:
        told = "{__file__} gpus={os.environ.get('CUDA_VISIBLE_DEVICES')}\\n"
        file.write(f'\n\nimport os\n\nwith open({str(places)!r}, "a") as _file:\n    _file.write(f"{told}")\n')
    hpo = Hpo(tmp_path, postgres.url(postgres.create_database()))
    hpo._options = lambda: ["--store", hpo.url, "--project", str(project)]  # type: ignore[method-assign]
    folder = Path(tempfile.mkdtemp(prefix="hpo", dir="/tmp"))  # sockets have short names
    try:
        with ray_cluster(folder, nodes=1) as ray:
            options = [f"--launcher-option=address={ray.address}", "--launcher-option=shared=true"]
            code, output = hpo.run(
                "run", hpo.study("s", epochs=1), "--trials", 2, "--launcher", "ray", "--workers", 1, *options
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    assert code == 0, output
    assert hpo.counts("s") == {"complete": 2}
    imported = set(places.read_text().splitlines())
    there = [place for place in imported if place.startswith(str(folder))]  # where Ray has put it
    assert there, imported
    assert all(place.endswith(" gpus=") for place in there), there
