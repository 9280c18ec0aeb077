"""The structure, read from the source of every file: imports, states, docstrings and exported names."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sources import nodes_of, tree_of

import hpo
from hpo.study.states import AttemptEnd, Direction, OptunaState, Request, StudyState, TrialState

ROOT = Path(__file__).parents[2]


def layers_of_the_documentation() -> list[list[str]]:
    """From the bottom up: docs/architecture.md says which packages and loose modules of `hpo` are in each layer."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Layers")[2]
    return [line.split(", ") for line in text.split("```")[1].split("\n") if line]


LAYERS = layers_of_the_documentation()
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# Inside a function, so that whoever only looks at results needs no torch.
TRAINING_USERS = {
    "hpo.results.trial": {"hpo.training.load_model"},
    "hpo.service.model": {"hpo.training.load_model"},
    "hpo.service.predict": {"hpo.training.prediction.predictor", "hpo.training.prediction.loading"},
    "hpo.service.ensemble": {"hpo.training.prediction.predictor"},  # for the type checker
    "hpo.service.study": {"hpo.training.prediction.predictor"},  # likewise
}

# What is spelled in hpo/study/states.py only, and the few places where the same word means something else.
KINDS = (StudyState, OptunaState, TrialState, Request, AttemptEnd, Direction)
STATES = {member.value for kind in KINDS for member in kind} - {"error"}  # also a column, and a key of messages
HOMONYMS = {
    *((f"hpo.ipc.{module}", "failed") for module in ("messages", "fork_server", "one_answer")),  # kinds of messages
    ("hpo.service.describe_data", "failed"),
    *(
        (f"hpo.training.{module}", "failed")
        for module in ("server", "evaluation", "export.run", "inspection", "prediction.run")
    ),
    ("hpo.ipc.messages", "done"),
    ("hpo.search.algorithms", "stop"),
    ("hpo.search.halving", "stop"),
    ("hpo.search.usual_ends", "stop"),  # a mode of successive halving
    ("hpo.search.rungs", "pause"),  # members of Verdict and of Action
    ("hpo.worker.decision", "pause"),
    ("hpo.worker.decision", "stop"),
}

HEAVY = ("torch", "pytorch_lightning", "lightning", "torchmetrics")


@dataclass(frozen=True)
class Import:
    """One import in one file, also a lazy one and one for the type checker only."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules_of(package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "templates" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


HPO = modules_of("hpo")
MODELS = modules_of("models")


def imports_of(module: str, path: Path) -> Iterator[Import]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield Import(module, submodule if submodule in HPO | MODELS else str(node.module), node.lineno)


@functools.cache
def all_imports() -> list[Import]:
    return [found for module, path in (HPO | MODELS).items() for found in imports_of(module, path)]


def within_hpo() -> list[Import]:
    return [found for found in all_imports() if found.importer in HPO and found.imported in HPO]


def package_of(module: str) -> str:
    """The package of `hpo`, or its loose module, that a module is in."""
    return module.removeprefix("hpo").lstrip(".").partition(".")[0] or "__init__"


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_every_package_has_one_place_in_the_layers() -> None:
    assert sorted(LEVELS) == sorted({package_of(module) for module in HPO})
    assert sum(map(len, LAYERS)) == len(LEVELS)


def test_packages_import_from_layers_above_them_only() -> None:
    # cli asks the package where it is installed and for its version; that is all it has of it
    allowed = {("hpo.cli.plan", "hpo"), ("hpo.cli", "hpo")}
    # Inside of functions, see TRAINING_USERS.
    allowed |= {(user, module) for user, modules in TRAINING_USERS.items() for module in modules}
    wrong = []
    for found in within_hpo():
        mine, theirs = package_of(found.importer), package_of(found.imported)
        if mine != theirs and LEVELS[theirs] >= LEVELS[mine] and (found.importer, found.imported) not in allowed:
            wrong.append(str(found))

    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in HPO}
    for found in within_hpo():
        if found.imported != "hpo":  # the package itself imports lazily, and is not what was meant
            graph[found.importer].add(found.imported)

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])) + ": a name is in the wrong file")


def test_only_training_and_models_import_torch() -> None:
    strangers = [
        found
        for found in all_imports()
        if any(is_in(found.imported, heavy) for heavy in HEAVY)
        and not is_in(found.importer, "hpo.training")
        and not is_in(found.importer, "models")
        and not _is_for_type_checker(found)
    ]

    assert not strangers, "\n".join(map(str, strangers))


def test_training_is_imported_only_to_load_a_model() -> None:
    users: dict[str, set[str]] = {}
    for found in within_hpo():
        if is_in(found.imported, "hpo.training") and not is_in(found.importer, "hpo.training"):
            users.setdefault(found.importer, set()).add(found.imported)

    assert users == TRAINING_USERS


def test_hpo_does_not_depend_on_the_models() -> None:
    offenders = [
        found for found in all_imports() if is_in(found.importer, "hpo") and found.imported.split(".")[0] in MODELS
    ]

    assert not offenders, "\n".join(map(str, offenders))


def test_models_import_the_search_space_and_nothing_else_of_hpo() -> None:
    of_hpo = [found for found in all_imports() if is_in(found.importer, "models") and is_in(found.imported, "hpo")]

    assert of_hpo
    assert {found.imported for found in of_hpo} == {"hpo.space"}


def test_only_loading_changes_the_import_path() -> None:
    changing = {
        module for module, path in (HPO | MODELS).items() for node in nodes_of(path) if _changes_import_path(node)
    }

    assert changing == {"hpo.loading"}


def test_states_are_spelled_in_one_module() -> None:
    spelled = [
        f"{module}:{node.lineno} {node.value}"
        for module, path in HPO.items()
        if module != "hpo.study.states" and "migrations" not in module
        for node in nodes_of(path)
        if isinstance(node, ast.Constant) and node.value in STATES and (module, node.value) not in HOMONYMS
    ]

    assert not spelled, "\n".join(spelled)


def _changes_import_path(node: ast.AST) -> bool:
    """Whether it calls a method of sys.path, or assigns or deletes it or a part of it."""
    if not isinstance(node, ast.Attribute | ast.Subscript):
        return False
    if _is_import_path(node.value):
        return isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load)
    return _is_import_path(node) and not isinstance(node.ctx, ast.Load)


def _is_import_path(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    )


def _is_for_type_checker(found: Import) -> bool:
    tree = tree_of((HPO | MODELS)[found.importer])
    guards = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return any(guard.lineno < found.line <= (guard.end_lineno or 0) for guard in guards)


# ---- names


def test_the_package_exports_its_documented_names() -> None:
    for name in hpo.__all__:
        assert getattr(hpo, name).__name__ == name
    assert sorted(hpo.__all__) == hpo.__all__


def test_the_package_shows_its_public_names_and_nothing_else() -> None:
    code = "import hpo, hpo.study.spec; print(*dir(hpo))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)

    assert done.stdout.split() == sorted([*hpo.__all__, "__version__"])
    with pytest.raises(AttributeError, match="module 'hpo' has no attribute 'opn_study'"):
        hpo.opn_study  # noqa: B018


def test_every_name_of_the_package_that_the_documentation_uses_is_public() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        (name, page.name)
        for page in pages
        for name in re.findall(r"(?<![\w./-])hpo\.([A-Za-z_]\w*)(?![\w/:-])", page.read_text(encoding="utf-8"))
    }

    # The store's file hpo.db, the group of entry points hpo.launchers, and modules.
    others = {"db", "launchers", *(path.stem for path in (ROOT / "hpo").iterdir())}

    assert {"run", "open_study", "HpoError"} <= {name for name, _ in used}
    assert not {(name, page) for name, page in used if name not in {*hpo.__all__, *others}}


def test_the_version_and_the_public_names_are_told_without_torch() -> None:
    code = "import sys, hpo, hpo.cli; hpo.__version__; dir(hpo); print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)

    assert not {"torch", "pytorch_lightning", "optuna", "pandas"} & set(done.stdout.split())


@pytest.mark.parametrize("module", [name for name in HPO | MODELS if "migrations" not in name])
def test_everything_public_has_a_docstring(module: str) -> None:
    tree = tree_of((HPO | MODELS)[module])
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and node.name != "main"
    ]

    silent = [f"{module}:{node.lineno} {node.name}" for node in public if ast.get_docstring(node) is None]

    assert ast.get_docstring(tree)
    assert not silent, "\n".join(silent)
