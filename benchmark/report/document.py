"""Blocks of a document (headings, text, lists, tables, figures) to Markdown; ``latex`` renders the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """What a number shows.

    ``region`` is None for a number over all regions, ``statistic`` says what of the metric it is (mean, sd over seeds,
    difference, p, rank, …), and ``against`` is the other model of a pair.
    """

    model: str
    metric: str
    region: str | None = None
    statistic: str = "mean"
    against: str = ""


@dataclass(frozen=True)
class Cell:
    """Plain text of a table's cell, perhaps bold, perhaps with a raised mark that a note explains.

    ``key`` says what number the cell shows; ``explain`` finds it by that.
    """

    text: str
    bold: bool = False
    mark: str = ""
    key: Key | None = None


@dataclass(frozen=True)
class Heading:
    """Heading of level 1 (the title), 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of plain sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of text.

    ``groups`` are (title, number of columns) above the header, for the columns after the first. ``wrap`` lets the last
    column hold long text, and ``pages`` lets such a table go over several pages. ``notes`` are printed below.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    groups: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()
    wrap: bool = False
    pages: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture, by its path relative to the report."""

    path: str
    caption: str


Block = Heading | Text | Bullets | Table | Figure


def to_markdown(blocks: Sequence[Block]) -> str:
    """Render blocks as GitHub's Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escape(text)}"
        case Text(text, bold):
            return f"**{escape(text)}**" if bold else escape(text)
        case Bullets(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Figure(path, caption):
            return f"![{escape(caption)}]({path})\n\n*{escape(caption)}*"
        case Table():
            return table_to_markdown(block)


def table_to_markdown(table: Table, caption: bool = True) -> str:
    """Render a table with its caption above and its notes below; grouped headers become one line."""
    titles = [""] + [title for title, span in table.groups for _ in range(span)]
    header = [f"{title} {name}".strip() for title, name in zip(titles, table.header, strict=False)]
    header += table.header[len(header) :]
    lines = [[escape(name) for name in header], ["---", *["---:" if table.groups else "---"] * (len(header) - 1)]]
    lines += [[_cell(cell) for cell in row] for row in table.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"*{escape(table.caption)}*"] if caption and table.caption else []
    return "\n\n".join([*parts, body, *[f"<sub>{escape(note)}</sub>" for note in table.notes]])


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = escape(cell.text)
    return (f"**{text}**" if cell.bold else text) + cell.mark


def escape(text: str) -> str:
    """Escape what Markdown would read as a mark; underscores within words are none to GitHub."""
    for mark in "\\|*`<":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
