"""Read JSON files that people declare things in into checked, frozen records."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from benchmark.base.files import read_json
from benchmark.base.records import InputError


class Record(BaseModel):
    """A part of a declared file: it has no other entries than its fields, and never changes.

    Constructed in Python it takes lists for tuples; ``read`` takes JSON's types only as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


R = TypeVar("R")


def read(path: Path, kind: type[R], what: str) -> R:
    """Read a JSON file as ``kind``, a Record or a TypedDict; ``what`` names the file's content in the error.

    Raises:
        InputError: if the file is missing, is not JSON or does not fit; the sentence names the entry that is wrong.
    """
    return check(path, read_json(path, what), kind)


def check(path: Path | str, content: Any, kind: type[R]) -> R:
    """Return ``content``, as JSON has it, as ``kind``; ``path`` names its file in the error.

    Raises:
        InputError: naming the first entry that does not fit.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except RecursionError as error:
        raise InputError(f"{path}: expected no brackets nested so deeply.") from error
    except ValidationError as error:
        # Another version explains all else. Of a value that fits none of several types, the complaint that lies deepest
        # is of the type that was meant.
        problem = max(
            error.errors(include_url=False),
            key=lambda one: (one["loc"] == ("version",), len(_place(one["loc"], content))),
        )
        where = "/".join(map(str, _place(problem["loc"], content)))
        raise InputError(f"{path}: {where}{': ' * bool(where)}{_sentence(problem)}.") from error


def distinct(values: Sequence[Hashable]) -> Sequence[Hashable]:
    """Refuse what is there twice."""
    if len(set(values)) < len(values):
        raise ValueError("expected each only once")
    return values


def without_comments(path: Path | str, content: Any) -> Any:
    """Return JSON ``content`` without its comments: the entries of any object whose key begins with ``//``.

    Raises:
        InputError: for a comment that is no text; ``path`` names its file in the error.
    """
    if isinstance(content, list):
        return [without_comments(path, one) for one in content]
    if not isinstance(content, dict):
        return content
    for key, value in content.items():
        if key.startswith(COMMENT) and not isinstance(value, str):
            found = short(value)
            raise InputError(f"{path}: {key}: expected text, as keys that begin with // are comments, found {found}.")
    return {key: without_comments(path, value) for key, value in content.items() if not key.startswith(COMMENT)}


def cut_comments(text: str) -> str:
    """Return the text of a JSON file as it would be if nobody had written comments into it.

    What is left is for hashing: a file that has no comments is left as it is, so that a hash of its bytes stays good
    when comments are added.
    """
    return COMMENTS.sub(lambda found: found["other"] or "", text)


COMMENT = "//"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_ONE = rf'"//(?:[^"\\]|\\.)*"\s*:\s*{_TEXT}'
COMMENTS = re.compile(rf"{_ONE}\s*,\s*|(?:\s*,\s*{_ONE})+(?=\s*\}})|{_ONE}(?=\s*\}})|(?P<other>{_TEXT})")
"""A comment with the comma that goes with it, or, so that nothing within it is taken for one, any other text."""

Name = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""A name that becomes a file or folder: it stays within its folder, and is the same everywhere."""

Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(distinct)]
"""At least one text, each only once."""

Numbers = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1), AfterValidator(distinct)]
"""At least one whole number from 0 up that numpy takes as a seed, each only once."""


def _place(where: Sequence[int | str], content: Any) -> list[int | str]:
    """Keep what leads to a place in ``content``: pydantic also names the types that it tried."""
    place: list[int | str] = []
    for step in where:
        known = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
        if step in known:
            content = content[step]
            place.append(step)
    return place


def _sentence(problem: Any) -> str:
    """Say what was expected and found, in the words that all our errors have."""
    kind, about, last = problem["type"], problem.get("ctx", {}), problem["loc"][-1] if problem["loc"] else ""
    found = short(problem["input"])
    if kind == "missing":
        return f"expected an entry {last!r}, found none"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"expected no such entry, found {found}"
    if kind == "union_tag_not_found":
        return f"expected an entry {about['discriminator']}, found none"
    if kind == "union_tag_invalid":
        return f"expected {about['discriminator']} to be one of {about['expected_tags']}, found {about['tag']!r}"
    expected = re.sub(r"^Value error, |( after validation)?, not \d+$", "", problem["msg"])
    expected = re.sub(r"^\w+ should (be |have )?", "expected ", expected)
    for words, better in {"match": "text to match", "greater": "a number greater", "less": "a number less"}.items():
        expected = expected.replace(f"expected {words}", f"expected {better}")
    return f"{expected}, found {found}"


def short(value: Any) -> str:
    """Write a value as JSON in no more than 60 letters."""
    found = json.dumps(value, ensure_ascii=False)
    return found if len(found) <= 60 else f"{found[:57]}..."
