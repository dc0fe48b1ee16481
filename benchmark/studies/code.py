"""Hash the code that a run's configs reach: our functions, classes and constants, wherever they are defined."""

from __future__ import annotations

import ast
import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import benchmark

OUTSIDE = ("base", "data.folds", "data.manifest", "data.scan", "data.sources")
"""Modules that are not followed: what they give a run, its manifest, folds and files, is in its fingerprint anyway."""

OURS = re.compile(r"\bbenchmark((?:\.[A-Za-z_]\w*)+)")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BEFORE_THE_MOVES = "0f2d59b2a503b8ccf3209708f79b383b64bb0015eb1c422e7bfef77e868d7aac"
"""What runs recorded of their code while modules were flat: a hash of whole files of networks, training and data."""

MOVED = {
    "Augmentation": "6be719b096e7f5d7",
    "DataSet": "6b57e8f92ed0e781",
    "DeepSupervision": "d8af75dc44350ca2",
    "EpochSampler": "654b30b80017e7e5",
    "EpochSeed": "3e71167cc51a7b4e",
    "FocalTverskyLoss": "b063af44f8369143",
    "InParts": "bbbe4375d551d7b7",
    "LAResUNet": "28fa6cac1893d4cb",
    "LabelMapWriter": "d08f68943bbdb5e5",
    "LastOutput": "8b40385102b6586c",
    "Mirrored": "f12f79a6d13d9647",
    "Padded": "2a129b7bb7381aea",
    "PlannedUNet": "739e38b119df8ae6",
    "Planner": "e27a53e7ecca842b",
    "PrepareBatch": "825bb0aa21644a14",
    "PrepareSlices": "62f702bb9afe08be",
    "ResNet50Classifier": "f44ee74aaf93cc67",
    "ResUNet": "0bb605b17ecacf79",
    "Resume": "a66eaeccd592831c",
    "SliceDataset": "b47d5302fe1b8bd7",
    "SliceTableWriter": "938aaf3c76fd7034",
    "VolumeDataset": "57e1f1350d38a790",
    "WeightedSum": "f2d6d570ad93b1b3",
    "Weights": "4900a5413be4a7b1",
    "topology": "664fc3ba49b980f6",
}
"""``hashes`` of that code. Its runs are accepted where these are still the hashes of what their configs name.

A hash of later code may stand here only if that code was shown to compute the same bits.
"""

ROUNDS = 8
"""How many steps away two definitions of one name are still told apart by what they refer to."""

Place = tuple[str, str]
"""Module and name of a definition; modules are named without the package's own name."""


def hashes(configs: Any) -> dict[str, str]:
    """Return a hash for each name of ours that stands in a config: of that definition and of all that it reaches.

    Names are without modules. Comments, docstrings, annotations, imports and the messages of errors do not count.
    Modules are taken to define things only, and to do nothing when they are imported.
    """
    package, found = _package(Path(benchmark.__file__).parent), dict[str, set[str]]()
    for path in set(OURS.findall(json.dumps(configs))):
        found.setdefault(path.rpartition(".")[2], set()).add(package.hash(path[1:]))
    return {name: "+".join(sorted(several)) for name, several in sorted(found.items())}


def at_the_moves(recorded: Any, now: Mapping[str, str]) -> Any:
    """Return what a run's record says of code in the terms of ``hashes``, where it is that of ``BEFORE_THE_MOVES``."""
    return {name: MOVED.get(name) for name in now} if recorded == BEFORE_THE_MOVES else recorded


def without_modules(content: Any) -> Any:
    """Return JSON content in which what is ours is named without the modules that hold it."""
    return json.loads(OURS.sub(lambda found: found[1].rpartition(".")[2], json.dumps(content)))


class _Package:
    """The modules of a package, each read once, with what each of their definitions refers to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, dict[str, str | list[ast.stmt]]] = {}
        self.texts: dict[Place, tuple[str, list[Place]]] = {}
        self.hashed: dict[str, str] = {}

    def hash(self, path: str) -> str:
        """Hash a definition and all that it reaches, without an order; "none" where there is no such definition."""
        if path not in self.hashed:
            self.hashed[path] = self._hash(path)
        return self.hashed[path]

    def _hash(self, path: str) -> str:
        found = self.resolve(path)
        if found is None:
            return "none"
        todo, texts = self.members(*found[:2]), dict[Place, tuple[str, list[Place]]]()
        while todo:
            place = todo.pop()
            if place not in texts:
                texts[place] = self.text(*place)
                todo += texts[place][1]
        # Two definitions of one name are told apart by what each is, and which of them is meant by what it refers to.
        marks = {place: _mark(place[1], text) for place, (text, _) in texts.items()}
        for _ in range(ROUNDS):
            marks = {place: _mark(marks[place], *(marks[r] for r in reached)) for place, (_, reached) in texts.items()}
        return _mark(*sorted(marks.values()))

    def resolve(self, path: str) -> tuple[str, str, list[str]] | None:
        """Find where a path within the package is defined: module, name and what is asked of it; None if nowhere."""
        parts, length = path.split("."), 0
        while length < len(parts) and self._file("/".join(parts[: length + 1])):
            length += 1
        module, rest = ".".join(parts[:length]), parts[length:]
        if not rest:
            return module, "", []
        found = self.names(module).get(rest[0])
        if isinstance(found, str):
            ours = found.removeprefix("benchmark.")
            return self.resolve(".".join([ours, *rest[1:]])) if ours != found else None
        return (module, rest[0], rest[1:]) if found else None

    def members(self, module: str, name: str) -> list[Place]:
        """The definition of that name; without a name, all that the module, or a folder of modules, defines."""
        if name:
            return [(module, name)]
        below = [f"{module}.{path.stem}" for path in sorted((self.folder / module.replace(".", "/")).glob("*.py"))]
        return [(m, key) for m in (module, *below) for key, node in self.names(m).items() if not isinstance(node, str)]

    def names(self, module: str) -> dict[str, str | list[ast.stmt]]:
        """What each name of a module's top level is: the statements that define it, or the path that it imports."""
        if module not in self.modules:
            file = self._file(module.replace(".", "/"))
            self.modules[module] = _names(ast.parse(file.read_text(encoding="utf-8")).body if file else [])
        return self.modules[module]

    def text(self, module: str, name: str) -> tuple[str, list[Place]]:
        """Source of a definition without what does not count, and the definitions that it refers to."""
        if (module, name) not in self.texts:
            plain = _Plain(self, module)
            # A copy, as one statement may define several names.
            nodes = [copy.deepcopy(node) for node in self.names(module)[name] if not isinstance(node, str)]
            text = "\n".join(ast.unparse(plain.visit(node)) for node in nodes)
            self.texts[module, name] = text, plain.reached
        return self.texts[module, name]

    def _file(self, module: str) -> Path | None:
        files = (self.folder / f"{module}.py", self.folder / module / "__init__.py")
        return next((file for file in files if file.is_file()), None)


@cache
def _package(folder: Path) -> _Package:
    return _Package(folder)


class _Plain(ast.NodeTransformer):
    """Rewrites a definition to what it computes; what it refers to gets the name that it has where it is defined."""

    def __init__(self, package: _Package, module: str) -> None:
        self.package, self.module = package, module
        self.scopes: list[tuple[ast.AST, Mapping[str, Any]]] = []
        self.reached: list[Place] = []

    def visit(self, node: ast.AST) -> Any:
        """Keep track of the names that hide those of the module."""
        if not isinstance(node, SCOPES):
            return super().visit(node)
        self.scopes.append((node, {} if isinstance(node, ast.ClassDef) else _own_names(node)))
        changed = super().visit(node)
        self.scopes.pop()
        return changed

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Drop docstrings, what functions are annotated with, and names that are only there to be annotated."""
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            node.body = [part for part in node.body if not _is_text(part)]
        if isinstance(node, FUNCTIONS):
            node.returns = None
        if isinstance(node, ast.ClassDef):
            node.bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        super().generic_visit(node)
        if isinstance(body := getattr(node, "body", None), list):
            for first, last in reversed([*itertools.pairwise(body)]):
                if _is_returned(first, last):
                    body[body.index(first) :] = [ast.Return(first.value)]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # In a class it makes a field; elsewhere it says nothing to Python.
        if self.scopes and isinstance(self.scopes[-1][0], ast.ClassDef):
            node.annotation = ast.Constant("Var" in ast.unparse(node.annotation))
            return self.generic_visit(node)
        value = self.visit(node.value) if node.value else ast.Constant(None)
        return ast.Assign([self.visit(node.target)], value, lineno=0)

    def visit_Call(self, node: ast.Call) -> Any:
        is_cast = isinstance(node.func, ast.Name) and node.func.id == "cast" and len(node.args) == 2
        return self.visit(node.args[1]) if is_cast else self.generic_visit(node)

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
        scopes = (*(names for _, names in reversed(self.scopes)), self.package.names(self.module))
        meant = next((names[parts[0]] for names in scopes if parts[0] in names), None)
        if meant is None:
            return node
        path = ".".join([meant if isinstance(meant, str) else f"benchmark.{self.module}.{parts[0]}", *parts[1:]])
        found = self.package.resolve(path.removeprefix("benchmark.")) if path.startswith("benchmark.") else None
        if found is None:
            # Others' classes may be imported from several of their modules.
            return ast.Name(re.sub(r"^(\w+)\.[a-z_][\w.]*?\.(?=[A-Z])", r"\1.", path))
        module, name, rest = found
        if not f"{module}.".startswith(tuple(f"{part}." for part in OUTSIDE)):
            self.reached += [place for place in self.package.members(module, name) if place not in self.reached]
        # Of two definitions of one name, the second to be used gets a mark.
        twins = [place for place in self.reached if place[1] == name and name]
        mark = "'" * twins.index((module, name)) if (module, name) in twins else ""
        return ast.Name(".".join([(name or module.rpartition(".")[2]) + mark, *rest]))


def _mark(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _names(statements: Iterable[ast.stmt]) -> dict[str, Any]:
    """What each name is that statements of a module's top level define or import."""
    found: dict[str, Any] = {}
    for node in statements:
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            # What is defined in parts of it, such as only where an import fails, is all of it.
            parts = [part for part in ast.walk(node) if isinstance(part, ast.stmt) and part is not node]
            imports = [part for part in parts if isinstance(part, (ast.Import, ast.ImportFrom))]
            found |= _names(imports) | {key: [node] for key in _names(part for part in parts if part not in imports)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= _imported(node)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found[node.name] = [node]
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # A constant may be made by several statements: SCHEMA["required"] = [...].
            for name in {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}:
                found[name] = [*found.get(name, []), node]
    return found


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0] for a in node.names}


def _own_names(scope: ast.AST) -> dict[str, str | None]:
    """Names that a function or comprehension binds itself: paths of imports, and None for variables."""
    found: dict[str, str | None] = {}
    for node in _within(scope):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= _imported(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = None
        elif isinstance(node, ast.arg):
            found[node.arg] = None
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler)) and node.name:
            found[node.name] = None
    return found


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of scopes in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, SCOPES):
            yield from _within(node)


def _is_returned(first: ast.stmt, last: ast.stmt) -> bool:
    """Whether two statements are ``x = …`` and ``return x``."""
    return (
        isinstance(first, ast.Assign) and isinstance(last, ast.Return)
        and isinstance(last.value, ast.Name) and [*map(ast.unparse, first.targets)] == [last.value.id]
    )  # fmt: skip


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
