"""Declared files: read into frozen records, or refused in one sentence that names the entry."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from benchmark.base.declared import Name, Names, Numbers, Record, cut_comments, read, without_comments
from benchmark.base.files import parse_json
from benchmark.base.records import InputError


class Part(Record):
    name: Name
    kind: Literal["one", "two"] = "one"
    numbers: Numbers = (1,)
    texts: Names = ("a",)
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    margin: float | dict[str, float] | None = None
    set: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


class Whole(Record):
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]


def test_a_file_is_read_into_records_that_cannot_change(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps({"parts": [{"name": "a", "numbers": [0, 2], "share": 0.25, "margin": {"dice": 1}}]}))
    found = read(path, Whole, "a whole")
    assert found == Whole(parts=[Part(name="a", numbers=[0, 2], share=0.25, margin={"dice": 1.0})])
    assert found.parts[0].numbers == (0, 2) and found.parts[0].kind == "one"
    with pytest.raises(ValidationError, match="frozen"):
        found.parts[0].name = "b"


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({}, "parts/0: expected an entry 'name', found none."),
        ({"name": 1}, "parts/0/name: expected a valid string, found 1."),
        ({"name": ""}, 'parts/0/name: expected at least 1 character, found "".'),
        ({"name": "a", "nmae": 1}, "parts/0/nmae: expected no such entry, found 1."),
        ({"name": "a", "kind": "three"}, "parts/0/kind: expected 'one' or 'two', found \"three\"."),
        ({"name": "a", "numbers": ["1"]}, 'parts/0/numbers/0: expected a valid integer, found "1".'),
        ({"name": "a", "numbers": [True]}, "parts/0/numbers/0: expected a valid integer, found true."),
        ({"name": "a", "numbers": [-1]}, "parts/0/numbers/0: expected a number greater than or equal to 0, found -1."),
        ({"name": "a", "numbers": [1, 1]}, "parts/0/numbers: expected each only once, found [1, 1]."),
        ({"name": "a", "texts": []}, "parts/0/texts: expected at least 1 item, found []."),
        ({"name": "a", "share": 1}, "parts/0/share: expected a number less than 1, found 1."),
        ({"name": "a", "margin": {"dice": "x"}}, 'parts/0/margin/dice: expected a valid number, found "x".'),
        ({"name": "a", "set": []}, "parts/0/set: expected an object, found []."),
        ("a", 'parts/0: expected an object, found "a".'),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(tmp_path, part, sentence):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps({"parts": [part]}))
    with pytest.raises(InputError) as found:
        read(path, Whole, "a whole")
    assert str(found.value) == f"{path}: {sentence}"


def test_a_file_with_other_content_is_named(tmp_path):
    (tmp_path / "whole.json").write_text("[]")
    with pytest.raises(InputError, match=r"whole\.json: expected an object, found \[\]\.$"):
        read(tmp_path / "whole.json", Whole, "a whole")
    with pytest.raises(InputError, match=r"none\.json does not exist: expected a whole\.$"):
        read(tmp_path / "none.json", Whole, "a whole")


PLAIN = """{
    "set": {"loss": "// dice"},
    "models": [{"bundle": "unet"}, "a \\"// b\\": \\"c\\", "],
    "empty": {}
}"""
COMMENTED = """{
    "// set": "an escaped \\" , and a } and \\\\",
    "set": {"loss": "// dice", "// last": "of an object", "//": "more than one"},
    "//models" : "two",
    "models": [{"//": "", "bundle": "unet"}, "a \\"// b\\": \\"c\\", "],
    "empty": {"//": "nothing else"},
    "// end": "the last"
}"""


def test_comments_are_dropped_from_every_object_and_change_no_hash():
    plain = parse_json(PLAIN)
    assert without_comments("study.json", parse_json(COMMENTED)) == plain
    # Texts that merely look like comments stay.
    assert without_comments("study.json", plain) == plain and plain["models"][1] == 'a "// b": "c", '
    assert cut_comments(PLAIN) == PLAIN and cut_comments(COMMENTED) == PLAIN


@pytest.mark.parametrize("value", [1, None, ["a"], {"// more": "a"}])
def test_a_comment_that_is_no_text_is_refused(value):
    with pytest.raises(InputError) as found:
        without_comments("study.json", {"models": [{"// why": value}]})
    said = f"study.json: // why: expected text, as keys that begin with // are comments, found {json.dumps(value)}."
    assert str(found.value) == said
