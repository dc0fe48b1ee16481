"""Describe a document as blocks (headings, text, lists, tables, figures), and render them as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace


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


def cells_of(key: Key, texts: Mapping[str, str]) -> list[Cell]:
    """Cells of several statistics of what ``key`` names; ``texts`` are by statistic."""
    return [Cell(text, key=replace(key, statistic=name)) for name, text in texts.items()]


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
    column hold long text, and ``pages`` lets such a table go over several pages. ``notes`` are printed below. ``name``
    is what its cells are listed under, by default the heading of its section.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    groups: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()
    wrap: bool = False
    pages: bool = False
    name: str = ""

    @property
    def columns(self) -> list[str]:
        """Full name of each column: its header after the title of its group."""
        titles = ["", *(title for title, span in self.groups for _ in range(span))]
        titles += [""] * (len(self.header) - len(titles))
        return [f"{title} {name}".strip() for title, name in zip(titles, self.header, strict=True)]


@dataclass(frozen=True)
class Figure:
    """A picture, by its path relative to the report."""

    path: str
    caption: str


Block = Heading | Text | Bullets | Table | Figure


CELL_COLUMNS = ("table", "row", "column", "model", "metric", "region", "statistic", "against", "text")


def keyed_cells(blocks: Sequence[Block]) -> list[tuple[str, ...]]:
    """List every cell with a key as CELL_COLUMNS, in the order of the document.

    A row is called by the cells before its first number, else by all that are none; a blank one is that of the row
    above.
    """
    found, section = list[tuple[str, ...]](), ""
    for block in blocks:
        if isinstance(block, Heading) and block.level < 3:
            section = block.text
        elif isinstance(block, Table):
            found += [(block.name or section, *cell) for cell in _keyed(block)]
    return found


def _keyed(table: Table) -> Iterator[tuple[str, ...]]:
    above = [""] * len(table.header)
    for row in table.rows:
        cells = [Cell(cell) if isinstance(cell, str) else cell for cell in row]
        above = [cell.text or last for cell, last in zip(cells, above, strict=True)]
        first = next((place for place, cell in enumerate(cells) if cell.key), 0)
        names = [text for cell, text in zip(cells, above, strict=True) if not cell.key]
        label = ", ".join(names[:first] or names)
        for column, cell in zip(table.columns, cells, strict=True):
            if key := cell.key:
                shown = (key.model, key.metric, key.region or "", key.statistic, key.against)
                yield label, column, *shown, cell.text + cell.mark


def say_once(blocks: Sequence[Block]) -> list[Block]:
    """Drop each note of a table that a table before it has printed; numbered notes ("[1] …") stay with their table."""
    said, found = set[str](), list[Block]()
    for block in blocks:
        if isinstance(block, Table):
            notes = [note for note in block.notes if note not in said or note.startswith("[")]
            said.update(notes)
            block = replace(block, notes=notes)
        found.append(block)
    return found


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
    header = [escape(name) for name in table.columns]
    lines = [header, ["---", *["---:" if table.groups else "---"] * (len(header) - 1)]]
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
    # What is in brackets before a parenthesis would be a link or a picture.
    return " ".join(text.replace("](", "]\\(").split())
