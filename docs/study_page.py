"""Write pages of declared files' entries anew from their declaration: ``python docs/study_page.py``."""

import json
import re
from pathlib import Path
from typing import Any

from benchmark.studies.cluster import Cluster
from benchmark.studies.study import Study

PAGE, CLUSTER_PAGE = (Path(__file__).parent / name for name in ("study.md", "cluster.md"))
HEAD = """# Entries of study.json

A study is a folder of `reports/` with a `study.json`, which says what is run and compared before it is run.
`benchmark study new NAME --data SET --models BUNDLE,BUNDLE` writes a short one with comments; `benchmark plan NAME`
checks it and says what `run-all` would refuse. Entries in bold are required, and no others than these are taken. In any
object, an entry whose name begins with `//` and whose value is text is a comment, and no hash depends on it. This page
is written from the program's own declaration by `python docs/study_page.py`.

```json
{
    "version": 1,
    "title": "SegResNet against U-Net on BraTS 2021",
    "data": "brats2021",
    "folds": [0, 1, 2, 3, 4],
    "seeds": [1, 2],
    "models": [
        {"bundle": "unet"},
        {"bundle": "segresnet"},
        {"bundle": "segresnet", "variant": "wide", "set": {"channels": [48, 96, 192, 384, 768]}}
    ],
    "compare": {
        "metrics": ["dice", "hd95"],
        "pairs": [["segresnet", "unet"], ["segresnet/wide", "segresnet"]],
        "margin": {"dice": 0.01, "hd95": 1.0}
    },
    "set": {"max_epochs": 50},
    "deviations": "Half of the epochs, to end within a week on one GPU."
}
```
"""


def page() -> str:
    """Text of the page."""
    schema = Study.model_json_schema()
    parts = {
        "study.json": schema,
        **{place: schema["$defs"][name] for name, place in PLACES.items() if name in schema["$defs"]},
    }
    return HEAD + "".join(_section(title, part) for title, part in parts.items())


def cluster_page(text: str) -> str:
    """Text of the page of a cluster.json, with its entries as they are declared between its two marks."""
    table = _section("Entries", Cluster.model_json_schema())
    return re.sub(r"(<!-- entries -->\n).*(?=<!-- /entries -->)", lambda found: found[1] + table, text, flags=re.DOTALL)


PLACES = {
    "Resources": "`partition` to `sbatch` of above",
    "Model": "Each of `models`", "Compare": "`compare`", "Primary": "`compare/primary`", "Check": "`check`",
    "TestOn": "`test_on`", "Tune": "`tune`",
}  # fmt: skip


def _section(title: str, part: dict[str, Any]) -> str:
    said = " ".join(part["description"].replace("``", "`").split())
    rows = [
        f"| {f'**`{name}`**' if name in part.get('required', ()) else f'`{name}`'} | {_kind(entry)} | "
        f"{_default(entry)} | {entry['description']} |"
        for name, entry in part["properties"].items()
        if name != "name"
    ]
    return "\n".join([f"\n## {title}\n", said, "", "| entry | value | if left out | |", "|---|---|---|---|", *rows, ""])


def _default(entry: dict[str, Any]) -> str:
    return f"`{entry['default']}`" if entry.get("default") else ""


def _kind(entry: dict[str, Any]) -> str:
    """A JSON schema of an entry in words."""
    if "$ref" in entry:
        return f"object, see {PLACES[entry['$ref'].rpartition('/')[2]].replace('Each of `models`', 'below')}"
    if "anyOf" in entry:
        empty = ({"type": "null"}, {"maxItems": 0}, {"maxProperties": 0})
        kinds = [_kind(one) for one in entry["anyOf"] if not any(some.items() <= one.items() for some in empty)]
        return " or ".join(dict.fromkeys(kinds))
    if "allOf" in entry:
        return _kind(entry["allOf"][0])
    if "const" in entry or "enum" in entry:
        values = entry.get("enum", [entry.get("const")])
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)
    kind = entry.get("type", "")
    if kind == "array":
        if "prefixItems" in entry:
            return "pair of names"
        return f"list of {_several(_kind(entry['items']))}"
    if kind == "object":
        values, keys = entry.get("additionalProperties"), entry.get("propertyNames", {}).get("enum")
        of = f" of {_several(_kind(values))}" if isinstance(values, dict) else ""
        return f"object{of}" + (f" by {', '.join(f'`{key}`' for key in keys)}" if keys else "")
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}[kind]


def _several(kind: str) -> str:
    """Plural of a kind in words."""
    first, _, rest = kind.partition(" ")
    if first in ("list", "pair", "object,", "object"):
        return f"{first.rstrip(',')}s{',' * first.endswith(',')} {rest}".rstrip()
    return " or ".join(f"{one}s" for one in kind.split(" or "))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    CLUSTER_PAGE.write_text(cluster_page(CLUSTER_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
