"""Check COCO annotation files: rectangles drawn as outlines, and what their categories mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from benchmark.base.files import read_rows
from benchmark.data.audit.cases import finding
from benchmark.data.audit.measures import Finding
from benchmark.data.manifest import CaseList
from benchmark.data.outlines import read_coco_file
from benchmark.data.volumes import parse_path

DETERMINED = 0.95
"""Share of pictures whose category follows from a column's value, from which the column says what categories mean."""


def audit_coco(listed: CaseList, folder: Path, table: Path | None = None) -> list[Finding]:
    """Report what the categories in a set's annotation files are, and whether its labels there are rectangles.

    The files are those beside the cases' pictures, by the name that the manifest's layout has for them; a set without
    such a name has none, and no finding.
    ``table`` is a CSV file with a row per picture; a column of it that the categories follow says what they mean.
    InputError if a file or the table cannot be read.
    """
    used = {parse_path(case.label).file for case in listed.cases if case.label}
    name = listed.manifest.layout.annotations
    beside = {PurePosixPath(parse_path(path).file).parent for case in listed.cases for path in case.images.values()}
    names: Counter[str] = Counter()
    categories: dict[str, str] = {}
    drawn: list[str] = []
    pictures = outlines = 0
    for path in sorted(place / name for place in beside) if name else []:
        data = read_coco_file(folder / path)
        meaning = {category.id: category.name for category in data.categories}
        files = {image.id: image.file_name for image in data.images}
        pictures += len(files)
        for annotation in data.annotations:
            category = annotation.category_id
            known = "no category" if category is None else meaning.get(category, f"{category}, which is not listed")
            picture = files.get(annotation.image_id, f"{annotation.image_id}, which is not listed")
            names[known] += 1
            categories[picture] = known
            if str(path) in used:
                outlines += 1
                drawn += [picture] if all(map(_is_rectangle, annotation.segmentation)) else []
    if not pictures:
        return []
    sentence = f"{len(drawn)} of {outlines} annotated outlines are axis-aligned rectangles."
    severity = "error" if 2 * len(drawn) >= outlines else "note"
    found = finding("rectangular outlines", severity, drawn, outlines, sentence)
    explained = _explained(table, categories) if table else []
    return [found, _named(names, len(categories), pictures), *explained]


def _named(names: Counter[str], annotated: int, pictures: int) -> Finding:
    every = len(names) > 1 and annotated == pictures
    sentence = f"The annotations have the categories {_counted(names)}; {annotated} of {pictures} pictures have one"
    sentence += ", so no category means that there is no tumour." if every else "."
    return Finding("category names", "warning" if every else "note", annotated, pictures, (), sentence)


def _is_rectangle(polygon: Sequence[float]) -> bool:
    """Say whether a polygon, x and y in turn, has four corners on the lines of its bounding box."""
    corners = set(zip(polygon[::2], polygon[1::2], strict=True))
    return len(corners) == 4 and len({x for x, _ in corners}) == len({y for _, y in corners}) == 2


def _explained(table: Path, categories: Mapping[str, str]) -> list[Finding]:
    """Find columns of names, two to ten different ones, that the categories follow."""
    rows = read_rows(table)
    key = max(rows[0], key=lambda column: sum(row[column] in categories for row in rows))
    pictures = [(row, categories[row[key]]) for row in rows if row[key] in categories]
    found = []
    for column in rows[0] if pictures else ():
        pairs = Counter((category, row[column]) for row, category in pictures)
        values = {value for _, value in pairs}
        if not 2 <= len(values) <= 10 or all(value.replace(".", "").isdigit() or not value for value in values):
            continue
        follow = sum(max(pairs[category, value] for category in categories.values()) for value in values)
        if follow >= DETERMINED * len(pictures):
            found.append(_meaning(f"{column} of {table.name}", pairs, follow, len(pictures)))
    return found


def _meaning(column: str, pairs: Mapping[tuple[str, str], int], follow: int, total: int) -> Finding:
    parts = []
    for category in sorted({category for category, _ in pairs}):
        of_category = Counter({value: count for (owner, value), count in pairs.items() if owner == category})
        parts.append(f"{json.dumps(category)} is {_counted(of_category)}")
    sentence = f"By column {column}, category {', category '.join(parts)}."
    return Finding("category names", "warning", follow, total, (), sentence, column)


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{json.dumps(name)} ({count})" for name, count in Counter(names).most_common())
