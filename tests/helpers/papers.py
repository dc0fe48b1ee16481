"""Write small published.json files, for tests."""

import json

from benchmark.papers.comparable import Made
from helpers.project import REPOSITORY

REPORTS = REPOSITORY / "reports"
PAPERS = ("mandekar2025", "hossen2025", "deng2024", "fozzati2024")
PAPER = {"short": "demo", "title": "T", "authors": ["A"], "data": "d", "split": "s"}


def table(columns, values, **more):
    rows = [{"label": label, "values": list(cells)} for label, cells in values.items()]
    columns = [{"name": name} if isinstance(name, str) else name for name in columns]
    return {"id": "T1", "kind": "scores", "caption": "c", "where": "w", "columns": columns, "rows": rows, **more}


def write(tmp_path, **content):
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"paper": PAPER, "tables": [], **content}), encoding="utf-8")
    return path


def lines(table):
    """Rows of a made table as texts."""
    return [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]


def alike(published, model, **changes):
    """How a model's numbers would be made if nothing that the paper states forbade a verdict on its tables."""
    facts = published.facts() or {}
    return Made(
        **{
            "data": facts.get("data", ["lgg"])[0], "cases": facts.get("cases", 9), "published": facts.get("cases", 9),
            "size": tuple(facts.get("size", ())), "split": facts.get("split", "patient"), "weights": "ImageNet",
            "track": facts.get("track", "native"), **changes,
        }
    )  # fmt: skip
