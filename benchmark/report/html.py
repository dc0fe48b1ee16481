"""Render the blocks of a report as one page of HTML that needs no other file: tables sort, sections fold, drawings are
inline."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from benchmark.report.document import Block, Bullets, Cell, Figure, Heading, Key, Table, Text
from benchmark.report.drawings import inline_svg

NUMBER = re.compile(r"[<>]?\s*[+-]?\d")
LARGEST = 298_000
"""Bytes of a page that goes into a repository."""
LARGEST_DRAWING = 80_000
"""Bytes of an SVG from which on the page shows its figure as a picture of points."""
LARGEST_IMAGE = 26_000
"""Bytes of such a picture."""
WIDEST = 1100
"""Pixels of such a picture's width."""


@dataclass(frozen=True)
class Answer:
    """What ``explain`` says of a number, folded: ``sentences`` and the ``command`` that says all of it."""

    id: str
    title: str
    sentences: Sequence[str]
    command: str


@dataclass(frozen=True)
class Picture:
    """A picture file with its caption; links lead to its ``id``."""

    id: str
    path: Path
    caption: str
    largest: int


Shown = Block | Answer | Picture
"""What a section may hold."""


@dataclass(frozen=True)
class Section:
    """A section of the page; one that is ``folded`` shows its title until it is opened."""

    title: str
    blocks: Sequence[Shown]
    folded: bool = False

    @property
    def id(self) -> str:
        """What a link to it names."""
        return "s-" + re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A study's page: its title, what stands in a frame below, its verdict and its sections.

    ``folder`` is that of the figures. ``links`` maps what a number shows to the id of the answer on it, ``command``
    gives that for any other, "" for none, and ``folded`` are names of tables.
    """

    title: str
    banner: Sequence[str]
    verdict: Sequence[str]
    sections: Sequence[Section]
    folder: Path
    links: Mapping[Key, str]
    command: Callable[[Key], str]
    folded: Sequence[str] = ()


def to_html(page: Page, largest: int = LARGEST) -> str:
    """Render a page, the same page to the same bytes; figures that would make it larger are left out, with a link."""
    shown: list[Any] = [
        {
            "id": one.id,
            "title": one.title,
            "folded": one.folded,
            "blocks": [_block(page, block) for block in one.blocks],
        }
        for one in page.sections
    ]
    for number, block in enumerate(block for one in shown for block in one["blocks"]):
        block["caption_id"] = f"c{number}"
    template = _templates().get_template("report.html")
    columns = {place for one in shown for block in one["blocks"] for place in block.get("texts", ())}
    given = {
        "title": page.title, "banner": page.banner, "verdict": page.verdict, "sections": shown,
        "columns": sorted(columns),
    }  # fmt: skip
    left = largest - len(template.render(**given).encode())
    figures = [block for one in shown for block in one["blocks"] if block.get("path")]
    drawn = [_svg(page.folder / one["path"], f"f{number}", one["caption_id"]) for number, one in enumerate(figures)]
    # The smaller first, so that as many as can be are there.
    for number in sorted(range(len(figures)), key=lambda number: len(drawn[number])):
        figure, text = figures[number], drawn[number]
        if not text or len(text) > min(LARGEST_DRAWING, left):
            text = _image(page.folder / figure["path"], figure["caption"], LARGEST_IMAGE)
        figure["drawing"] = text if len(text) < left else ""
        left -= len(figure["drawing"])
    return str(template.render(**given))


def index_to_html(title: str, studies: Sequence[Mapping[str, Any]]) -> str:
    """Render a page over all studies, each with name, title, verdict, page ("" for none) and why there is none."""
    text: str = _templates().get_template("index.html").render(title=title, studies=studies)
    return text


@lru_cache(maxsize=1)
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    loader = PackageLoader("benchmark.report", "page")
    # A name in a table is text, never markup.
    made = Environment(loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True)
    made.globals["file"] = lambda name: Markup(resources.files("benchmark.report").joinpath("page", name).read_text())
    return made


def _block(page: Page, block: Shown) -> dict[str, Any]:
    match block:
        case Table():
            return _table(page, block)
        case Figure(path, caption):
            return {"kind": "Figure", "id": "", "caption": caption, "path": path}
        case Picture(id_, path, caption, largest):
            drawing = _image(path, caption, largest)
            return {"kind": "Figure", "id": id_, "caption": caption, "drawing": drawing}
        case Bullets(items):
            return {"kind": "Bullets", "items_": items}
        case Heading(text):
            return {"kind": "Heading", "text": text}
        case Text(text, bold):
            return {"kind": "Text", "text": text, "bold": bold}
        case Answer():
            return {"kind": "Answer", **vars(block)}


def _table(page: Page, table: Table) -> dict[str, Any]:
    rows, above = [], [""] * len(table.header)
    for row in table.rows:
        cells = [Cell(cell) if isinstance(cell, str) else cell for cell in row]
        # Blanks before a row's first text are those of the row above, which sorting may part from it.
        leading = next((place for place, cell in enumerate(cells) if cell.text), 0)
        rows.append([_cell(page, cell, above[place] if place < leading else "") for place, cell in enumerate(cells)])
        above = [one["text"] for one in rows[-1]]
    keys = [cell.key for row in table.rows for cell in row if isinstance(cell, Cell) and cell.key]
    linked = any(one["link"] for row in rows for one in row)
    spans = [("", 1), *table.groups] if table.groups else []
    rest = len(table.header) - sum(span for _, span in spans)
    return {
        "kind": "Table", "caption": table.caption, "header": table.header, "rows": rows, "notes": table.notes,
        "groups": [*spans, *([("", rest)] if spans and rest else [])], "wide": table.wrap,
        # Columns of text, by a class of the table: one at each cell would take more room.
        "texts": [n + 1 for n in range(len(table.header)) if _is_text([row[n]["text"] for row in rows])],
        "folded": table.name in page.folded and bool(table.name),
        "example": page.command(keys[0]) if keys and not linked else "",
    }  # fmt: skip


def _cell(page: Page, cell: Cell, above: str) -> dict[str, Any]:
    link = page.links.get(cell.key, "") if cell.key else ""
    return {"text": cell.text or above, "bold": cell.bold, "mark": cell.mark, "same": bool(above), "link": link}


def _is_text(texts: Sequence[str]) -> bool:
    said = [text for text in texts if text not in ("", "-", "none")]
    return sum(bool(NUMBER.match(text)) for text in said) * 2 < len(said)


def _svg(path: Path, name: str, caption: str) -> str:
    """A figure's SVG as a part of the page, ``caption`` its caption's id; "" where there is none."""
    from markupsafe import Markup

    drawn = path.with_suffix(".svg")
    return Markup(inline_svg(drawn.read_text(encoding="utf-8"), name, caption)) if drawn.exists() else ""


def _image(path: Path, label: str, largest: int) -> str:
    """A picture file as an image within the page, of at most so many bytes, as sharp as that allows."""
    from markupsafe import Markup, escape
    from PIL import Image

    with Image.open(path) as found:
        picture = found.convert("RGB")
    picture.thumbnail((WIDEST, 10 * WIDEST))
    for quality, share in ((80, 1.0), (60, 1.0), (40, 1.0), (40, 0.7), (30, 0.5), (20, 0.35)):
        stream = io.BytesIO()
        size = (max(int(picture.width * share), 1), max(int(picture.height * share), 1))
        picture.resize(size).save(stream, "WEBP", quality=quality, method=4)
        if stream.tell() * 4 / 3 < largest:
            break
    data = base64.b64encode(stream.getvalue()).decode()
    return Markup(f'<img src="data:image/webp;base64,{data}" alt="{escape(label)}" width="{picture.width}">')
