"""Hash the code that a run's configs reach: our functions, classes and constants, wherever they are defined."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import benchmark

OUTSIDE = (
    "base.declared",
    "base.files",
    "base.progress",
    "base.project",
    "base.records",
    "data.folds",
    "data.manifest",
    "data.scan",
    "data.sources",
)
"""Modules that are not followed: what they give a run, its manifest, folds and files, is in its fingerprint anyway."""

OURS = re.compile(r"\bbenchmark((?:\.[A-Za-z_]\w*)+)")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BEFORE_THE_MOVES = "0f2d59b2a503b8ccf3209708f79b383b64bb0015eb1c422e7bfef77e868d7aac"
"""What runs recorded of their code while modules were flat: a hash of whole files of networks, training and data."""

MOVED = dict(
    Augmentation="41e57d1d4d44fdf5", DataSet="99c20957042da5d0", DeepSupervision="218ed2e873ce09fe",
    EpochSampler="5aaa7617c4788e8c", EpochSeed="742d5b158256f604", FocalTverskyLoss="f64c686f0c51fa52",
    InParts="92b87b47cc768925", LAResUNet="ed4b832103e4a7a5", LabelMapWriter="db60c3e153e9c77d",
    LastOutput="f823882f7f66c04b", Mirrored="9a103baa3a870101", Padded="68aa5f71de802ccb",
    PlannedUNet="08ba4f67718167e4", Planner="3f536023f7619d31", PrepareBatch="0d52d505b9889adb",
    PrepareSlices="075645952b1ec1e1", ResNet50Classifier="8c451ad6b1dfe05c", ResUNet="6b2044be3cf15ac2",
    Resume="1e8a8e44572215b3", SliceDataset="22ef6937bda4d7ad", SliceTableWriter="cdf188d135130dea",
    VolumeDataset="435e449aa5a1fcd7", WeightedSum="833f676347ee8691", Weights="c0ed90e826f32617",
    topology="795a99c8fc9efd31",
)  # fmt: skip
"""``hashes`` of that code. Its runs are accepted where these are still the hashes of what their configs name.

A hash of later code may stand here only if that code was shown to compute the same bits.
"""

Place = tuple[str, str]
"""Module and name of a definition; modules are named without the package's own name."""


class _Module(NamedTuple):
    """A module's definitions, the statements by the name that they define, and the paths that it imports by name."""

    defined: dict[str, list[ast.stmt]]
    imported: dict[str, str]


def hashes(configs: Any) -> dict[str, str]:
    """Return a hash for each name of ours that stands in a config: of that definition and of all that it reaches.

    Names are without modules. Comments, docstrings, annotations, imports and the messages of errors do not count.
    Modules are taken to define things only, to do nothing when they are imported, and to be no values themselves.
    """
    package = Path(benchmark.__file__).parent
    return {name: "+".join(sorted({_hash(package, path) for path in paths})) for name, paths in _named(configs)}


def modules(configs: Any) -> dict[str, str]:
    """Return the module, without the package's name, that defines each name of ``hashes`` that is here today."""
    package, found = Path(benchmark.__file__).parent, dict[str, str]()
    for name, paths in _named(configs):
        places = {place[0][0] for path in paths if (place := _resolve(package, path))}
        found |= {name: "+".join(sorted(places))} if places else {}
    return found


def _named(configs: Any) -> list[tuple[str, set[str]]]:
    """Each name of ours in a config, in order, with the paths within the package that it stands for there."""
    found: dict[str, set[str]] = {}
    for path in OURS.findall(json.dumps(configs)):
        found.setdefault(path.rpartition(".")[2], set()).add(path[1:])
    return sorted(found.items())


def at_the_moves(recorded: Any, names: Any) -> Any:
    """Return what a run's record says of code in the terms of ``hashes``, where it is that of ``BEFORE_THE_MOVES``."""
    return {name: MOVED.get(name) for name in names} if recorded == BEFORE_THE_MOVES else recorded


def without_modules(content: Any) -> Any:
    """Return JSON content in which what is ours is named without the modules that hold it."""
    return json.loads(OURS.sub(lambda found: found[1].rpartition(".")[2], json.dumps(content)))


@cache
def _hash(package: Path, path: str) -> str:
    """Hash a definition and all that it reaches, numbered as they are met; "none" where there is no such definition."""
    found = _resolve(package, path)
    places, texts = [found[0]] if found else [], list[Any]()
    for place in places:  # which grows on the way
        text, reached = _text(package, *place)
        places += [new for new in dict.fromkeys(reached) if new not in places]
        texts.append((text, [places.index(one) for one in reached]))
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16] if found else "none"


def _resolve(package: Path, path: str) -> tuple[Place, list[str]] | None:
    """Find where a path within the package is defined, and what is asked of the definition; None if nowhere."""
    parts = path.split(".")
    length = max(n for n in range(len(parts)) if n == 0 or _file(package, ".".join(parts[:n])))
    module, name, rest = ".".join(parts[:length]), parts[length], parts[length + 1 :]
    known = _module(package, module)
    if name in known.defined:
        return (module, name), rest
    ours = OURS.fullmatch(".".join([known.imported.get(name, ""), *rest]))
    return _resolve(package, ours[1][1:]) if ours else None


def _file(package: Path, module: str) -> Path | None:
    path = package / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _module(package: Path, module: str) -> _Module:
    file, found = _file(package, module), _Module({}, {})
    tree = ast.parse(file.read_text(encoding="utf-8") if file else "")
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # which grows on the way
        nodes += _statements(node)
        if isinstance(node, ast.ImportFrom):
            found.imported.update((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)
        elif isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                found.imported[one.asname or first] = one.name if one.asname else first
    for node in tree.body:
        for name in dict.fromkeys(_names(node)):
            # A constant may be made by several statements: SCHEMA["required"] = [...].
            found.defined.setdefault(name, []).append(node)
    return found


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements directly within a node; expressions, most of a tree, hold none."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for part in getattr(node, name, ()):
            if isinstance(part, ast.stmt):
                yield part
            else:
                yield from _statements(part)


def _names(node: ast.AST) -> Iterator[str]:
    """Names that a statement of a module defines, in each of its branches."""
    if isinstance(node, DEFINITIONS):
        yield node.name
        return
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
    for part in _statements(node):
        yield from _names(part)


@cache
def _text(package: Path, module: str, name: str) -> tuple[str, list[Place]]:
    """Source of a definition without what does not count, and the definitions that it refers to, in order."""
    plain = _Plain(package, module)
    # Its copy takes a quarter of the time of copy.deepcopy.
    nodes = pickle.loads(pickle.dumps(_module(package, module).defined[name]))
    nodes = [plain.visit(node) for node in nodes]
    return "\n".join(map(ast.unparse, nodes)), plain.reached


class _Plain(ast.NodeTransformer):
    """Rewrites a definition to what it computes, with "ours" for each definition that it refers to."""

    def __init__(self, package: Path, module: str) -> None:
        self.package, self.module = package, module
        self.reached: list[Place] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, DEFINITIONS):
            node.body = [part for part in node.body if not _is_text(part)]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        return super().generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = self.visit(node.value) if node.value else ast.Constant(...)
        return ast.Assign([self.visit(node.target)], value, lineno=0)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._named(node, [node.id])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts, inner = [inner.attr, *parts], inner.value
        return self._named(node, [inner.id, *parts]) if isinstance(inner, ast.Name) else self.generic_visit(node)

    def _named(self, node: ast.expr, parts: list[str]) -> ast.AST:
        """Give what is ours to the definitions reached, and what is imported from others its full name."""
        known = _module(self.package, self.module)
        if parts[0] in known.defined:
            path = f"{self.module}.{'.'.join(parts)}"
        elif parts[0] in known.imported:
            path = ".".join([known.imported[parts[0]], *parts[1:]])
            if not path.startswith("benchmark."):
                return ast.Name(path)
            path = path.removeprefix("benchmark.")
        else:
            return node
        found = _resolve(self.package, path)
        if found is None:
            return ast.Name(path)
        place, rest = found
        if f"{place[0]}.".startswith(tuple(f"{part}." for part in OUTSIDE)):
            return ast.Name(".".join([place[1], *rest]))
        self.reached.append(place)
        return ast.Name(".".join(["ours", *rest]))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
