"""Classes of a script or notebook, which other processes cannot import: sent by value to the server of their study.

They are sent only over the socket between a worker and the processes that it starts itself, never to the store.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import inspect
import pickle
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpo.errors import LoadError
from hpo.loading import MAIN, check_label, extend_import_path, load_class
from hpo.study.fingerprints import of_source

LARGEST_BYTES = 32 << 20  # pickled; more would be data, which would be copied for each study


def is_by_value(label: str) -> bool:
    """Whether the class was defined in a script or notebook."""
    return label.startswith(f"{MAIN}:")


def pack(labels: Iterable[str]) -> dict[str, Any]:
    """Pack the classes among these that were defined in this process's script or notebook.

    Returns:
        A value for JSON: the pickled classes, this process's import path, which they may need, and the fingerprints of
        their sources; empty if there are no such classes.

    Raises:
        LoadError: there is no such class here, or it uses an object that cannot be sent.
    """
    classes = {check_label(label)[1]: load_class(label, Path.cwd()) for label in labels if is_by_value(label)}
    if not classes:
        return {}
    import cloudpickle

    names = " and ".join(classes)
    try:
        pickled = cloudpickle.dumps((classes, _names_in_annotations(classes.values())))
    except Exception as error:  # pickling users' objects may raise any error
        raise LoadError(
            f"{names} cannot be sent to the trial processes: {type(error).__name__}: {error}. {_advice(names)}"
        ) from error
    if len(pickled) > LARGEST_BYTES:
        raise LoadError(
            f"{names} cannot be sent to the trial processes: with the global variables that they use, they take "
            f"{len(pickled) >> 20} MiB, but the limit is {LARGEST_BYTES >> 20} MiB. Load the data in the data module's "
            "setup()"
        )
    folders = [str(Path(folder).resolve()) for folder in sys.path]
    sources = {f"code {name}": of_source(source) for name, found in classes.items() if (source := _source(found))}
    return {"pickle": base64.b64encode(pickled).decode("ascii"), "folders": folders, "sources": sources}


def unpack(packed: Mapping[str, Any]) -> None:
    """Replace this process's module `__main__` by a new one with the packed classes.

    Raises:
        LoadError: modules that the classes use cannot be imported here.
    """
    main = types.ModuleType(MAIN)
    sys.modules[MAIN] = main
    if not packed:
        return
    extend_import_path(packed["folders"])
    try:
        # Trusted: it comes from the process that started this one, over the socket between them.
        classes, annotations = pickle.loads(base64.b64decode(packed["pickle"]))  # noqa: S301
    except Exception as error:
        raise LoadError(
            f"the classes of the script or notebook cannot be used in the trial processes: {type(error).__name__}: "
            f"{error}. {_advice('them')}"
        ) from error
    vars(main).update(classes)
    for function, names in annotations:
        for name, value in names.items():
            function.__globals__.setdefault(name, value)


def refusal(labels: Iterable[str], reason: str) -> LoadError:
    """The error for classes of a script or notebook where only importable ones are possible."""
    names = " and ".join(check_label(label)[1] for label in labels if is_by_value(label))
    return LoadError(f"{names}: {reason}. {_advice(names)}")


def _source(found: type[Any]) -> str | None:
    """The statement of a class, or of a notebook's class those of its methods; None where no text of it is known."""
    methods = [value for _, value in sorted(vars(found).items()) if isinstance(value, types.FunctionType)]
    for parts in ([found], methods):
        with contextlib.suppress(OSError, TypeError):
            return "\n".join(textwrap.dedent(inspect.getsource(part)) for part in parts) or None
    return None


def _advice(names: str) -> str:
    return f"Move {names} to a file, such as mynets.py, and import from there"


def _names_in_annotations(classes: Iterable[type[Any]]) -> list[tuple[Any, Mapping[str, Any]]]:
    """The constructors of the classes, each with the global variables that are named in annotations as texts.

    A function is pickled with the variables that its code uses, which do not include names in such texts.
    """
    found: list[tuple[Any, Mapping[str, Any]]] = []
    for function in {init for cls in classes for init in _constructors(cls)}:
        texts = [text for text in function.__annotations__.values() if isinstance(text, str)]
        names = {name for text in texts for name in _names(text)} & function.__globals__.keys()
        found.append((function, {name: function.__globals__[name] for name in names}))
    return found


def _constructors(cls: type[Any]) -> Iterator[types.FunctionType]:
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if base.__module__ == MAIN and isinstance(init, types.FunctionType):
            yield inspect.unwrap(init)


def _names(text: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    except SyntaxError:
        return set()
