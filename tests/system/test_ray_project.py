"""The project folder goes to the nodes of a Ray cluster that do not have it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from projects.launch import PROJECT, Hpo
from ray_cluster import ray_cluster

if TYPE_CHECKING:
    from conftest import PostgresServer


def test_the_project_folder_travels_with_the_job(tmp_path: Path, postgres: PostgresServer) -> None:
    project = tmp_path / "mine"
    shutil.copytree(PROJECT / "projects", project / "projects", ignore=shutil.ignore_patterns("__pycache__"))
    places = tmp_path / "places"
    with (project / "projects" / "nets.py").open("a") as file:
        file.write(f"\n\nwith open({str(places)!r}, 'a') as _file:\n    _file.write(__file__ + '\\n')\n")
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
    assert [place for place in imported if place.startswith(str(folder))], imported  # where Ray has put it
