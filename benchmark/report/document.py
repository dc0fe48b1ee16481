"""Describe a document as blocks (headings, text, lists, tables, figures), and render them as Markdown."""

from __future__ import annotations

import re
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


REPORT, APPENDIX = "report.md", "appendix.md"
"""Pages of a report: what it says in short, and all else."""


@dataclass(frozen=True)
class Heading:
    """Heading of level 1 (the title), 2 or 3; one with ``appendix`` begins a section of the appendix."""

    text: str
    level: int = 2
    appendix: bool = False


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


CELL_COLUMNS = ("page", "table", "row", "column", "model", "metric", "region", "statistic", "against", "text")


def sections(blocks: Sequence[Block]) -> list[list[Block]]:
    """Part the blocks into sections: those before the first heading of level 2, then each such heading with its own."""
    found: list[list[Block]] = [[]]
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            found.append([])
        found[-1].append(block)
    return found


def in_appendix(section: Sequence[Block]) -> bool:
    """Whether a section stands in the appendix."""
    return bool(section) and isinstance(section[0], Heading) and section[0].appendix


def in_order(blocks: Sequence[Block]) -> list[Block]:
    """Put the sections of the appendix after all others."""
    return [block for section in sorted(sections(blocks), key=in_appendix) for block in section]


def keyed_cells(blocks: Sequence[Block]) -> list[tuple[str, ...]]:
    """List every cell with a key as CELL_COLUMNS, in the order of the document.

    A row is called by the cells before its first number, else by all that are none; a blank one is that of the row
    above.
    """
    found, section, page = list[tuple[str, ...]](), "", REPORT
    for block in blocks:
        if isinstance(block, Heading) and block.level < 3:
            section, page = block.text, APPENDIX if block.appendix else REPORT
        elif isinstance(block, Table):
            found += [(page, block.name or section, *cell) for cell in _keyed(block)]
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


def to_pages(blocks: Sequence[Block]) -> dict[str, str]:
    """Render blocks as the pages of a report, REPORT and APPENDIX, each with links to the other."""
    by_place: dict[bool, list[list[Block]]] = {False: [], True: []}
    for section in sections(blocks):
        by_place[in_appendix(section)].append(section)
    report, appendix = ([block for section in by_place[place] for block in section] for place in (False, True))
    if not appendix:
        return {REPORT: to_markdown(report)}
    title = next((block.text for block in report if isinstance(block, Heading) and block.level == 1), "")
    named = [block.text for section in by_place[True] for block in section[:1] if isinstance(block, Heading)]
    links = ", ".join(f"[{escape(name)}]({APPENDIX}#{anchor(name)})" for name in named)
    head = to_markdown([Heading(f"{title}: appendix", 1)])
    return {
        REPORT: f"{to_markdown(report)}\n## Appendix\n\n{links}.\n",
        APPENDIX: f"{head}\nWhat the [report]({REPORT}) leaves out.\n\n{to_markdown(appendix)}",
    }


def anchor(heading: str) -> str:
    """Write the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


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
