"""Find code in configs: programs, that is bundles, may hold any; studies and command lines, which are data, may not."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from benchmark.base import project
from benchmark.base.records import InputError

REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
"""A reference to an id, as MONAI writes it."""

ARITHMETIC = (
    ast.Expression, ast.Name, ast.Attribute, ast.Constant, ast.Subscript, ast.Slice, ast.Starred, ast.List, ast.Tuple,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop, ast.expr_context,
)  # fmt: skip
TORCH = {
    "torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer", "torch.optim.lr_scheduler.LRScheduler",
}  # fmt: skip
FUNCTIONS = {"abs", "float", "int", "len", "list", "max", "min", "round", "sum"}


def check(where: str, content: Any) -> None:
    """Refuse code in what a study or a command line sets.

    Raises:
        InputError: naming the first place.
    """
    for found in code_in(content):
        raise InputError(
            f"{where}: {found}: expected a value, a reference such as @max_epochs, or a class of monai, benchmark or "
            "torch's networks, losses, optimizers and schedulers; add --allow-code to run this code."
        )


def of_bundle(name: str, content: Any) -> list[str]:
    """Code in a bundle's ``model.json`` beyond references and arithmetic; none of one that the repository holds."""
    command = ["git", "status", "--porcelain", "--ignored", "--", str(project.bundles() / name)]
    done = subprocess.run(command, cwd=project.root(), capture_output=True, text=True, check=False)
    return code_in(content, arithmetic=True) if done.returncode or done.stdout else []


def code_in(content: Any, arithmetic: bool = False) -> list[str]:
    """Return each place that runs code, with its text; ``arithmetic`` on references is none where that is said."""
    found = texts(content)
    return [f"{place} = {text}" for place, text in found if _runs(re.split("#|::", place)[-1], text, arithmetic)]


def texts(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a part of a config with its place, ``a#b#0``."""
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, (dict, list, tuple)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from texts(value, f"{place}#{key}" if place else str(key))


def macro_file(text: str) -> str | None:
    """The file that a value such as ``%file.json::id`` takes text from; None where it names none."""
    found = re.match(r"%(.+?\.(?:json|ya?ml))(?:::|#|$)", text, re.IGNORECASE)
    return found[1] if found else None


def _runs(key: str, text: str, arithmetic: bool) -> bool:
    if key == "_target_":
        # A bundle may choose between names, by the number of dimensions.
        chosen = arithmetic and text.startswith("$") and _is_arithmetic(REFERENCE.sub("reference", text[1:]).strip())
        return not all(map(_known, re.findall(r"'([\w.]+)'", text) if chosen else [text]))
    if key == "_mode_":
        return text != "default"
    if not text.startswith("$"):
        return macro_file(text) is not None
    expression = REFERENCE.sub("reference", text[1:]).strip()
    return expression != "reference" and not (arithmetic and _is_arithmetic(expression))


def _is_arithmetic(expression: str) -> bool:
    try:
        nodes = [*ast.walk(ast.parse(expression, mode="eval"))]
    except (SyntaxError, ValueError, RecursionError):
        return False
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    return (
        all(isinstance(node, ARITHMETIC) for node in nodes)
        and all(isinstance(function, ast.Name) and function.id in FUNCTIONS for function in called)
        and not any(isinstance(node, ast.Attribute) and node.attr.startswith("_") for node in nodes)
        and {node.id for node in nodes if isinstance(node, ast.Name)} <= {"reference", *FUNCTIONS}
    )


HARMLESS = (
    "benchmark.data.", "benchmark.networks.", "benchmark.training.", "monai.inferers.", "monai.losses.",
    "monai.metrics.", "monai.networks.", "monai.optimizers.",
)  # fmt: skip
"""Where classes only compute; others, such as monai.transforms.LoadImage, import what an argument names."""

NAMES_CODE = ("PatchInferer", "PerceptualLoss")
"""Classes there that import what an argument names, or download."""


def _known(target: str) -> bool:
    """Whether a ``_target_`` is a class of ours, of MONAI, or a network, loss, optimizer or scheduler of torch."""
    # To look elsewhere would import it, which runs its code.
    if target.partition(".")[0] not in ("benchmark", "monai", "torch"):
        return False
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport:
        return False
    if not inspect.isclass(found):
        return found is None or inspect.ismodule(found)  # nothing that could run
    # A path may lead through a module to what that imports: where a class is defined decides.
    module = f"{found.__module__}."
    if module.startswith(("benchmark.", "monai.")):
        return module.startswith(HARMLESS) and found.__name__ not in NAMES_CODE
    bases = {f"{base.__module__}.{base.__qualname__}" for base in found.__mro__}
    return module.startswith("torch.") and not bases.isdisjoint(TORCH)
