"""Kubernetes' manifests of workers: the templates of `deploy/kubernetes`, filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template

from hpo.errors import SpecError
from hpo.settings import templates_folder
from hpo.store import StoreUrl

KINDS = ("job", "deployment", "rayjob")
IMAGE = r"[\w][\w./:@-]*"
MEMORY = r"\d+(\.\d+)?([KMGT]i?)?"
MOST_OF_A_NAME = 50  # letters of a name in Kubernetes, which adds some


@dataclass(frozen=True)
class Wanted:
    """What the pods are to be.

    Attributes:
        kind: job, deployment or rayjob.
        study: that they work on; all open ones where it is empty.
        cpus, memory, gpus: of a worker.
        store: URL without its password, which is in a secret.
    """

    kind: str
    image: str
    workers: int = 2
    study: str = ""
    cpus: int = 4
    memory: str = "8Gi"
    gpus: int = 0
    store: str = "postgresql://hpo@postgres/hpo"
    artifacts: str = "s3://BUCKET/searches"


def manifest(wanted: Wanted) -> str:
    """The manifest as YAML.

    Raises:
        SpecError: a value cannot stand in it.
    """
    if wanted.kind not in KINDS:
        raise SpecError(f"--kind {wanted.kind}: use {', '.join(KINDS)}")
    for name, value, pattern, like in (
        ("image", wanted.image, IMAGE, "REGISTRY/hpo-service:0.1.0"),
        ("memory", wanted.memory, MEMORY, "8Gi"),
        ("artifacts", wanted.artifacts, r"[\w./:@-]+", "s3://BUCKET/searches"),
    ):
        if not re.fullmatch(pattern, value):
            raise SpecError(f"--{name} {value}: should be such as {like}")
    store = StoreUrl.parse(wanted.store)
    if store.is_sqlite:
        raise SpecError("--store: pods of several machines need PostgreSQL: postgresql://USER@HOST/NAME")
    if store.password is not None:
        raise SpecError("--store: leave the password out: the pods read it from the secret hpo-store")
    base = re.sub(r"[^a-z0-9]+", "-", wanted.study.lower()).strip("-")[:MOST_OF_A_NAME]
    text = (templates_folder() / "deploy" / "kubernetes" / f"{wanted.kind}.yaml").read_text(encoding="utf-8")
    return Template(text).substitute(
        name=f"hpo-{base or 'workers'}",
        image=wanted.image,
        workers=wanted.workers,
        study=f', "{wanted.study}"' if wanted.study else "",
        cpus=wanted.cpus,
        memory=wanted.memory,
        gpus=f", nvidia.com/gpu: {wanted.gpus}" if wanted.gpus else "",
        gpu_count=wanted.gpus,
        store=str(store),
        artifacts=wanted.artifacts,
    )
