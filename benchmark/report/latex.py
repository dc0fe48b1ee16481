"""Render the blocks of a document as a stand-alone LaTeX article with booktabs tables, for pdflatex."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from benchmark.report.document import Block, Bullets, Cell, Figure, Heading, Table, Text

LONGEST_FLOAT = 35
"""Rows beyond which a table is broken over pages."""

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2cm]{geometry}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{booktabs,longtable,graphicx,float,textcomp}
\setlength{\emergencystretch}{3em}
\newsavebox{\tablebox}
% A table or picture is shrunk only where it is wider than the page.
\newcommand{\fitted}[1]{\sbox{\tablebox}{#1}%
  \ifdim\wd\tablebox>\linewidth\resizebox{\linewidth}{!}{\usebox{\tablebox}}\else\usebox{\tablebox}\fi}
\newcommand{\picture@@}[1]{\IfFileExists{#1}{\fitted{\includegraphics{#1}}}{\fbox{\texttt{\detokenize{#1}}
  is not there.}}}
""".replace("@@", "file")

WIDEST, NARROW = 34, 0.27
"""Letters of a cell beyond which its column wraps too, and then the share of the line that the column gets."""

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}",
    "≥": r"$\geq$", "≤": r"$\leq$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "µ": r"$\mu$", "…": r"\ldots{}",
    "\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$", "\N{GREEK SMALL LETTER GAMMA}": r"$\gamma$",
    "\N{MINUS SIGN}": r"$-$", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{NO-BREAK SPACE}": "~",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``", "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
}  # fmt: skip


def escape(text: str) -> str:
    """Escape text for LaTeX; characters that pdflatex's fonts lack lose their accents or become a question mark."""
    return "".join(_character(character) for character in " ".join(text.split(" ")).replace("\n", " "))


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii() or 0xC0 <= ord(character) <= 0x17F:
        return character if character.isprintable() else " "
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(SPECIAL.get(letter, letter) for letter in plain) or "?"


def to_latex(blocks: Sequence[Block]) -> str:
    """Render blocks as a whole LaTeX document; the first level-1 heading becomes the title."""
    title = next((block.text for block in blocks if isinstance(block, Heading) and block.level == 1), "")
    body = [_latex(block) for block in blocks if not (isinstance(block, Heading) and block.level == 1)]
    if more := [block for block in blocks if isinstance(block, Heading) and block.appendix]:
        body.insert(body.index(first := _latex(more[0])), f"\\appendix\n{first}")
        body.remove(first)
    head = f"\\title{{{escape(title)}}}\n\\author{{}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle"
    return "\n\n".join([PREAMBLE + head, *body, r"\end{document}"]) + "\n"


def _latex(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"\\{'section' if level == 2 else 'subsection'}{{{escape(text)}}}"
        case Text(text, bold):
            return f"\\noindent\\textbf{{{escape(text)}}}" if bold else escape(text)
        case Bullets(items):
            listed = "\n".join(f"\\item {{}}{escape(item)}" for item in items)
            return f"\\begin{{itemize}}\n{listed}\n\\end{{itemize}}"
        case Figure(path, caption):
            return (
                f"\\begin{{figure}}[H]\n\\centering\n\\picturefile{{{path}}}\n"
                f"\\caption{{{escape(caption)}}}\n\\end{{figure}}"
            )
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    lines = [r"\toprule", *_group_lines(table), " & ".join(map(escape, table.header)) + r" \\", r"\midrule"]
    head = "\n".join(lines)
    body = "\n".join(" & ".join(_cell(cell, table.wrap) for cell in row) + r" \\" for row in table.rows)
    columns = "l" + ("r" if table.groups else "l") * (len(table.header) - 1)
    if table.wrap:
        longest = _longest(table)
        narrow = [f"p{{{NARROW}\\linewidth}}" if count > WIDEST else "l" for count in longest]
        columns = "".join(narrow) + f"p{{{_share(longest):.3g}\\linewidth}}"
    notes = "".join(
        f"\n\\par\\smallskip\\noindent{{\\footnotesize\\raggedright {escape(note)}\\par}}" for note in table.notes
    )
    if table.pages or len(table.rows) > LONGEST_FLOAT:
        return (
            f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\begin{{longtable}}{{{columns}}}\n"
            f"\\caption{{{escape(table.caption)}}}\\\\\n{head}\n\\endhead\n\\bottomrule\n\\endfoot\n{body}\n"
            f"\\end{{longtable}}}}{notes}"
        )
    tabular = f"\\begin{{tabular}}{{{columns}}}\n{head}\n{body}\n\\bottomrule\n\\end{{tabular}}"
    # A paragraph column measures itself by the line, so such a table cannot be put in a box first.
    fitted = tabular if table.wrap else f"\\fitted{{{tabular}}}"
    caption = f"\\caption{{{escape(table.caption)}}}"
    return f"\\begin{{table}}[H]\n\\centering\\small\n{caption}\n\\smallskip\n{fitted}{notes}\n\\end{{table}}"


def _longest(table: Table) -> list[int]:
    """Letters of the longest cell of each column but the last."""
    before = [[cell if isinstance(cell, str) else cell.text for cell in row[:-1]] for row in table.rows]
    return [max(map(len, column)) for column in zip(table.header[:-1], *before, strict=True)]


def _share(longest: Sequence[int]) -> float:
    """Share of the line that a wrapped last column gets: 0.6, less where long cells stand before it."""
    letters = sum(min(count, WIDEST) for count in longest)
    return max(0.25, 0.6 - 0.0105 * max(0, letters - 33))


def _group_lines(table: Table) -> list[str]:
    if not table.groups:
        return []
    titles, rules, column = [""], [], 2
    for title, span in table.groups:
        titles.append(f"\\multicolumn{{{span}}}{{c}}{{{escape(title)}}}")
        rules.append(f"\\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    return [" & ".join(titles) + r" \\", "".join(rules)]


def _cell(cell: str | Cell, breakable: bool) -> str:
    if isinstance(cell, str):
        return " ".join(_broken(word) if breakable else escape(word) for word in cell.split(" "))
    text = escape(cell.text)
    mark = f"\\textsuperscript{{{escape(cell.mark)}}}" if cell.mark else ""
    return (f"\\textbf{{{text}}}" if cell.bold else text) + mark


def _broken(word: str) -> str:
    # Hashes and paths have no place to break a line at.
    return "\\allowbreak{}".join(escape(word[start : start + 16]) for start in range(0, max(len(word), 1), 16))
