"""Imports the classes that a study names, `package.module:Class`, from a project folder; only this changes sys.path."""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hpo.errors import LoadError, nearest

_LABEL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*$")

# In the environment of a process, and of those that it starts: classes of the project folder only are loaded, since
# somebody named them who may run code that stands there, and no other.
CONFINED = "HPO_CONFINED"
_CONFINEMENT = "a study that is submitted to a server names classes of the project folder only"

# The data of a study without `data:`; its model has the loaders.
OWN_LOADERS = "hpo.training.own_loaders:OwnLoaders"

MAIN = "__main__"  # the module of a script or notebook, which no other process can import


def load_class(label: str, project: Path) -> type[Any]:
    """The class that `label` names, looked up first in `project`, then among the installed packages.

    Raises:
        LoadError: the label is malformed, the module cannot be found or fails to import, or has no such class; or it is
            not defined in the project folder, where CONFINED is set.
    """
    module_name, class_name = check_label(label)
    if is_confined():
        check_confined(label, project)
    folder = str(project.resolve())
    if sys.path[0] != folder:
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    if module_name not in sys.modules:
        importlib.invalidate_caches()  # 3 ms, which each trial would pay
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, class_name, None)  # which may import more, where a package exports it lazily
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise LoadError(f"{label}: importing {module_name} failed: {error}{_innermost(error)}") from error
        raise LoadError(
            f"{label}: there is no module '{error.name}'. Searched {folder}, which holds {_importable(project)}, "
            "and the installed packages. Another project folder is given with --project."
        ) from error
    except (Exception, SystemExit) as error:
        name = type(error).__name__
        raise LoadError(f"{label}: importing {module_name} failed: {name}: {error}{_innermost(error)}") from error
    if not isinstance(found, type) and module_name == MAIN:
        raise LoadError(
            f"{label}: {class_name} was defined in a script or notebook, from which this process cannot import it. "
            f"Move it to a file of the project folder, such as mynets.py, and name it as mynets:{class_name}"
        )
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if _is_own_class(value, module_name)]
        raise LoadError(
            f"{label}: {module_name} ({module.__file__}) has no class '{class_name}'"
            f"{nearest(class_name, classes) or '.'} It has {', '.join(classes) or 'no classes of its own'}."
        )
    if is_confined() and label != OWN_LOADERS:
        _check_definition(found, label, project)
    return found


def is_confined() -> bool:
    """Whether this process loads classes of the project folder only."""
    return bool(os.environ.get(CONFINED))


def check_confined(label: str, project: Path) -> None:
    """Check that a label names a module of the project folder; imports nothing.

    Raises:
        LoadError: it is malformed, or names a module of Python, of hpo, of an installed package, or none.
    """
    module_name, _ = check_label(label)
    if label != OWN_LOADERS and _own_file(module_name, project) is None:
        raise LoadError(f"{label}: {_CONFINEMENT}, which has no module '{module_name}'")


def _check_definition(found: type[Any], label: str, project: Path) -> None:
    """
    Raises:
        LoadError: a module of the project folder has only imported the class, such as `subprocess.Popen`.
    """
    file = getattr(sys.modules.get(found.__module__), "__file__", None)
    own = _own_file(found.__module__, project)
    if file is None or own is None or Path(file).resolve() != own.resolve():
        raise LoadError(f"{label}: {_CONFINEMENT}, and {found.__name__} is one of {found.__module__}")


def _own_file(module_name: str, project: Path) -> Path | None:
    """The file of a module that stands in the project folder; None of Python's own, which go before, and of others."""
    top, *rest = module_name.split(".")
    if top in sys.stdlib_module_names or top in ("hpo", MAIN) or not all(part.isidentifier() for part in (top, *rest)):
        return None
    path = project.resolve().joinpath(top, *rest)
    return next((file for file in (path / "__init__.py", path.with_name(f"{path.name}.py")) if file.is_file()), None)


def check_label(label: str) -> tuple[str, str]:
    """(module, class) that the label consists of.

    Raises:
        LoadError: the label is malformed.
    """
    module_name, _, class_name = label.partition(":")
    if not module_name or not class_name.isidentifier():
        raise LoadError(f"'{label}' does not name a class: write it as package.module:Class")
    return module_name, class_name


def is_object(value: object) -> bool:
    """Whether a value of a study file describes an object to be built: `{class: package.module:Class, ...}`."""
    return isinstance(value, Mapping) and isinstance(value.get("class"), str) and bool(_LABEL.match(value["class"]))


def label_of_class(found: type[Any]) -> str:
    """The import path of a class as in a study file: `package.module:Class`.

    Raises:
        LoadError: the class has no import path.
    """
    module_name, name = found.__module__, found.__qualname__
    if getattr(sys.modules.get(module_name), name, None) is found:
        return f"{module_name}:{name}"
    if not name.isidentifier():
        raise LoadError(f"{name} is defined inside a function or class: define it at the top level of its module")
    raise LoadError(
        f"{name} of {module_name} is not the class that {module_name}:{name} names now: it was defined again, or not "
        "by a class statement. Pass the present class, or write its import path package.module:Class"
    )


def import_folder(label: str) -> Path | None:
    """The folder from which this process imported a label's module.

    None for an installed package, a script or notebook, and a module that this process has not imported.

    Raises:
        LoadError: the label is malformed.
    """
    module_name = check_label(label)[0]
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if module_name == MAIN or file is None:
        return None
    path = Path(file).resolve()
    levels = module_name.count(".") + (path.name == "__init__.py")
    if levels >= len(path.parents):
        return None
    folder = path.parents[levels]
    is_installed = folder.name in ("site-packages", "dist-packages") or folder == Path(sysconfig.get_path("stdlib"))
    return None if is_installed else folder


def extend_import_path(folders: Iterable[str]) -> None:
    """Append these folders to the import path, unless they are on it."""
    sys.path.extend(folder for folder in folders if folder not in sys.path)


def _is_own_class(value: object, module_name: str) -> bool:
    return isinstance(value, type) and value.__module__ == module_name and not value.__name__.startswith("_")


def _importable(project: Path) -> str:
    """The modules and packages of a folder, for the error message."""
    if not project.is_dir():
        return "nothing: the folder does not exist"
    entries = sorted(project.iterdir())
    names = [f"{entry.name}/" for entry in entries if entry.is_dir() and any(entry.glob("*.py"))]
    names += [entry.name for entry in entries if entry.suffix == ".py"]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "no Python files"


def _innermost(error: BaseException) -> str:
    """Where the error was raised: ` (models/cnn.py, line 12)`."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
