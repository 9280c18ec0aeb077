"""Fingerprints of what trials depend on besides the study file: data files, and the project's modules.

They tell whether a study goes on with the data and the code that it began with. They are the same on all machines and
for all versions of Python.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hpo.study.artifacts import sha256_of

MISSING = "missing"
CODE, DATA = "code ", "data "  # how the name of a module, and of a file or folder begins

# Of more bytes than this, in a file or in a folder, samples are read: a search should not begin minutes later for it.
MOST_BYTES_READ = 256 << 20
_SAMPLE = 1 << 20  # bytes, at three places of a file
_SAMPLED_FILES = 50
_INSTALLED = {"site-packages", "dist-packages"}
# They differ between versions of Python, or change nothing.
_IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


def code_fingerprints(project: Path) -> dict[str, str]:
    """Of the modules in the project folder that this process has imported, by path: `code nets/small.py`."""
    found = {}
    for name, path, _ in _own_modules(project):
        try:
            found[f"{CODE}{name}"] = of_source(path.read_bytes())
        except OSError:  # it was removed after the import
            found[f"{CODE}{name}"] = MISSING
    return found


def library_versions(project: Path) -> dict[str, str]:
    """The versions of the packages that the project's modules have imported, or names of them, by the packages' names.

    Not of those that a function imports, nor of those that tell none.
    """
    own = list(_own_modules(project))
    ours = {module.__name__.partition(".")[0] for _, _, module in own} | {"hpo", *sys.stdlib_module_names}
    found = {}
    for _, _, module in own:
        for value in list(vars(module).values()):
            origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            name = origin.partition(".")[0] if isinstance(origin, str) else ""
            version = getattr(sys.modules.get(name), "__version__", None)
            if name not in ours and isinstance(version, str):
                found[name] = str(version)
    return dict(sorted(found.items()))


def of_source(source: bytes | str) -> str:
    """The fingerprint of a module; comments, docstrings and layout do not matter."""
    words: list[str] = []
    try:
        _add_words(ast.parse(source), words)
    except (SyntaxError, ValueError, RecursionError):
        words = [repr(source)]
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def data_paths(arguments: Mapping[str, Iterable[Any]], project: Path) -> dict[str, Path]:
    """The files and folders that the arguments of a study's classes name, by what they are called: `data iris.csv`.

    Args:
        arguments: by owner (model, data), their values; also within lists and mappings. A model's folders are left
            out: they are mostly written to.
        project: the folder that relative paths start from.
    """
    found = {}
    for owner, values in arguments.items():
        for text in _texts(list(values)):
            try:
                path = project / Path(text).expanduser()
                if path.is_file() or (owner == "data" and path.is_dir()):
                    found[f"{DATA}{text}"] = path
            except (OSError, ValueError, RuntimeError):  # such as a text that is too long for a path
                continue
    return found


def path_of_data(name: str, project: Path) -> Path:
    """The file or folder that `data_paths` has called so, whether or not it is there."""
    return project / Path(name.removeprefix(DATA)).expanduser()


def of_path(path: Path) -> str:
    """The fingerprint of a file or a folder; MISSING where there is none, or where it cannot be read."""
    try:
        return _of_folder(path) if path.is_dir() else _of_file(path)
    except OSError:
        return MISSING


def inputs_of(code: Mapping[str, str], paths: Mapping[str, Path]) -> dict[str, str]:
    """The fingerprints of modules, which another process has imported, and of the files and folders as they are now."""
    return {**code, **{name: of_path(path) for name, path in paths.items()}}


def changed_inputs(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """What differs, in words: `data iris.csv: other contents`; empty where one of them is not known.

    A file or folder that was not there before is no difference: the study's own trials have written or downloaded it,
    since its name is as before.
    """
    if not now or not before:
        return []
    found = []
    for name in sorted(now.keys() | before.keys()):
        if name not in before:
            found += [f"{name}: not used before"] if name.startswith(CODE) else []
        elif now.get(name, MISSING) == MISSING and before[name] != MISSING:
            found.append(f"{name}: {'no longer used' if name not in now else 'not there'}")
        elif now.get(name) != before[name]:
            found.append(f"{name}: other contents")
    return found


def inputs_to_continue(now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The inputs of a study that goes on: as they are now, without the files that were not there before."""
    if not now or not before:
        return dict(now or before)
    return {name: value for name, value in now.items() if name in before or name.startswith(CODE)}


def in_a_line(changes: Sequence[str], *, most: int = 2) -> str:
    """`data iris.csv: other contents; code nets.py: other contents; and 3 more`."""
    more = [f"and {len(changes) - most} more"] if len(changes) > most else []
    return "; ".join([*changes[:most], *more])


def _own_modules(project: Path) -> Iterator[tuple[str, Path, ModuleType]]:
    """(path within the project folder, file, module) of the modules in it that this process has imported, by name."""
    folder = project.resolve()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or name.partition(".")[0] == "hpo":
            continue
        path = Path(file).resolve()
        # torch has modules of its own making, whose paths are relative.
        is_ours = Path(file).is_absolute() and path.is_relative_to(folder) and not _INSTALLED & set(path.parts)
        if is_ours and not path.is_relative_to(Path(sys.prefix).resolve()):
            yield path.relative_to(folder).as_posix(), path, module


def _of_folder(folder: Path) -> str:
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for _, path in files]
    is_large = sum(sizes) > MOST_BYTES_READ
    step = max(1, len(files) // _SAMPLED_FILES) if is_large else 1
    digest = hashlib.sha256()
    for place, ((name, path), size) in enumerate(zip(files, sizes, strict=True)):
        contents = _of_file(path, most=_SAMPLE if is_large else MOST_BYTES_READ) if place % step == 0 else ""
        digest.update(f"{name}\0{size}\0{contents}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _of_file(path: Path, *, most: int = MOST_BYTES_READ) -> str:
    """Of its contents; of more bytes than `most`, of its size and of its beginning, middle and end."""
    size = path.stat().st_size
    if size <= most:
        return sha256_of(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, size // 2, size - _SAMPLE):
            file.seek(max(0, start))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Path) or (isinstance(value, str) and value.strip(" ./")):
        yield str(value)


def _add_words(node: ast.AST, words: list[str]) -> None:
    words.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _IGNORED_FIELDS:
            continue
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, ast.AST):
                if not _is_docstring(item):
                    words.append(name)
                    _add_words(item, words)
            elif item is not None:
                words.append(f"{name} {item!r}")
    words.append(".")


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
