"""Joins the files that read new data with NumPy alone, and the one that runs the network, into one predict.py."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from hpo.errors import HpoError
from hpo.printable import printable

RUNS = "hpo.training.export.standalone.predict"
READS_INPUTS = "hpo.training.export.standalone.inputs"  # for data modules that name no file

_HEAD = '''"""{title}

    python predict.py NEWDATA [-o FILE.csv] [--proba]
    python predict.py --check

Needs onnxruntime and numpy{also}. README.md beside it tells more.
"""

from __future__ import annotations

'''


def script(reader: str, *, title: str, also: str = "") -> str:
    """The source of predict.py.

    Args:
        reader: the module with `read(source, state)`; it, and what it imports of its own package, goes in.
        title: a line.
        also: what it needs besides.

    Raises:
        HpoError: a file is not found, or two of them give a name to different things.
    """
    files: dict[str, Path] = {}
    for name in (reader, RUNS):
        _collect(name, files)
    imports: dict[str, None] = {}
    bodies, owners = [], dict[str, str]()
    for name, path in files.items():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        for defined in _defined(tree):
            if owners.setdefault(defined, name) != name:
                raise HpoError(f"{name} and {owners[defined]} both define '{defined}': predict.py has one of a name")
        imports |= dict.fromkeys(ast.unparse(node) for node in tree.body if _is_import(node) and not _owns(node, files))
        bodies.append(_body(source, tree))
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), "numpy" in line, line))
    head = _HEAD.format(title=printable(title).replace("\\", "").replace('"', "'"), also=also)
    return (
        head + "\n".join(ordered) + "\n\n\n" + "\n\n\n".join(bodies) + '\n\n\nif __name__ == "__main__":\n    main()\n'
    )


def _collect(name: str, files: dict[str, Path]) -> None:
    """The files of a module and of those of its package that it imports, in the order of their use."""
    if name in files:
        return
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise HpoError(f"there is no module {name}, which a data module names as its `standalone`")
    path = Path(found.origin)
    own = name.partition(".")[0]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == own:
            _collect(node.module, files)
    files[name] = path


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__"


def _owns(node: ast.stmt, files: dict[str, Path]) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module in files


def _defined(tree: ast.Module) -> list[str]:
    names = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def _body(source: str, tree: ast.Module) -> str:
    """The source below the imports, without the module's text and what is for the type checker only."""
    left_out = [
        node
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    gone = {line for node in left_out for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = [line for number, line in enumerate(source.splitlines(), start=1) if number not in gone]
    return "\n".join(lines).strip("\n")
