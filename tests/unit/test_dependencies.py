"""What pyproject.toml declares is what the code imports, and constraints.txt has an exact version of each."""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sources import nodes_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

OURS = {"hpo", "models", "benchmarks"}
OPTIONAL = {
    "psycopg": "psycopg",
    "polars": "polars",
    "captum": "captum",
    "holidays": "holidays",
    "obstore": "obstore",
    "ray": "ray",
    "plotly": "plotly",
    "apprise": "apprise",
    "mlflow": "mlflow-skinny",
    "wandb": "wandb",
    "onnxruntime": "onnxruntime",
    "safetensors": "safetensors",
}  # may be absent, here too: who asks for an extra has it


@functools.cache
def installed() -> Mapping[str, list[str]]:
    """The distributions of each module; several may share its name."""
    return packages_distributions()


def requirements(lines: list[str]) -> list[Requirement]:
    return [requirement for requirement in map(Requirement, lines) if requirement.name != PROJECT["name"]]


def names(lines: list[str]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements(lines)}


@functools.cache
def imported_by(*folders: str) -> dict[str, str]:
    """Top-level modules of other people that files in these folders import, lazily too, with one that does."""
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in nodes_of(path):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [str(node.module)]
            found |= {module.partition(".")[0]: str(path.relative_to(ROOT)) for module in modules}
    return {module: path for module, path in found.items() if module not in sys.stdlib_module_names | OURS}


def distributions(module: str) -> set[str]:
    """The distributions of which one has to be declared for a module."""
    if module in OPTIONAL:
        return {OPTIONAL[module]}
    return {canonicalize_name(name) for name in installed().get(module, [])}


def test_what_the_package_imports_is_declared() -> None:
    declared = names(PROJECT["dependencies"])
    extra = names([line for lines in EXTRAS.values() for line in lines])

    undeclared = {
        module: path
        for module, path in imported_by("hpo", "models").items()
        if not distributions(module) & (extra if module in OPTIONAL else declared)
    }

    assert not undeclared


def test_what_is_declared_is_imported() -> None:
    imported = {name for module in imported_by("hpo", "models") for name in distributions(module)}

    assert not names(PROJECT["dependencies"]) - imported - {"python-multipart"}  # FastAPI imports it for our forms


def test_what_tests_and_benchmarks_import_is_declared_in_an_extra_at_least() -> None:
    declared = names([*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)])

    # Other names are their own files, and modules that tests write.
    imported = {module: path for module, path in imported_by("tests", "benchmarks").items() if module in installed()}
    undeclared = {module: path for module, path in imported.items() if not distributions(module) & declared}

    assert {"pytest", "psycopg"} <= imported.keys()
    assert not undeclared


def test_each_dependency_has_an_exact_version_that_it_allows() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if not line.startswith("#"))
    }
    needed = requirements([*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["postgres"], *EXTRAS["parquet"]])

    wrong = [
        str(requirement)
        for requirement in needed
        if not requirement.specifier.contains(exact.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]

    assert not wrong
