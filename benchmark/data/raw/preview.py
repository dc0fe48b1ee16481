"""Draw a raw case before and after its preparation, to be looked at before anything is believed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmark.base.files import write_text
from benchmark.data.raw.record import Steps
from benchmark.data.scan import PREVIEW

PAGE = "previews.html"

OUTLINE = (255, 200, 0)
TITLE = 16
"""Height in pixels of the line above each row of slices."""


def draw(path: Path, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], brain: np.ndarray) -> None:
    """Write a PNG with a row for each sequence: three slices by its header alone, and the same three as prepared.

    All are on the prepared grid, (x, y, z), with the outline of the reference's brain, which fits on the right and need
    not on the left.
    """
    places = [int(at) for at in np.argwhere(brain).mean(axis=0)]
    rows = []
    for name in before:
        parts = [_slice(volume[name], brain, axis, places[axis]) for volume in (before, after) for axis in range(3)]
        height = max(part.shape[0] for part in parts)
        row = np.concatenate([np.pad(part, ((0, height - part.shape[0]), (2, 2), (0, 0))) for part in parts], axis=1)
        rows.append(_titled(f"{name}: by its header alone | as prepared", row))
    Image.fromarray(np.concatenate(rows)).save(path, format="PNG")


def _slice(volume: np.ndarray, brain: np.ndarray, axis: int, place: int) -> np.ndarray:
    """Return RGB pixels as radiologists look at them, the patient's left on the right, grey up to the brain's 99th
    percentile."""
    most = float(np.percentile(volume[brain], 99)) or 1.0
    flip = 1 if axis == 0 else -1
    grey = np.rot90(np.take(volume, place, axis)[::flip] / most).clip(0, 1) * 255
    mask = np.rot90(np.take(brain, place, axis)[::flip])
    pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    pixels[mask & ~ndimage.binary_erosion(mask)] = OUTLINE
    return pixels


def _titled(text: str, row: np.ndarray) -> np.ndarray:
    title = Image.new("RGB", (row.shape[1], TITLE))
    ImageDraw.Draw(title).text((4, 2), text, fill=(255, 255, 255))
    return np.concatenate([np.asarray(title), row])


def write_page(out: Path, cases: Sequence[Steps]) -> None:
    """Write a page for a browser with the preview of each case and what its registrations found."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Raw scans, before and after</title>'
    style = (
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:0 1em;text-align:right}img{max-width:100%}</style>"
    )
    write_text(out / PAGE, "\n".join([head, style, *map(_of_case, cases), "</html>"]) + "\n")


def _of_case(steps: Steps) -> str:
    names = ("Registered", "rotation, degrees", "shift, mm", "mutual information", "lost by a shift of 10 mm", "began")
    rows = [
        (name, f"{one.degrees:.1f}", f"{one.mm:.1f}", f"{one.information:.3f}", f"{one.fall:.0%}", one.start)
        for name, one in steps.registrations.items()
    ]
    cells = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in
             [("th", names), *(("td", row) for row in rows)]]  # fmt: skip
    case = escape(steps.case_id)
    source = quote(f"{steps.case_id}/{steps.case_id}{PREVIEW}")
    about = f"{steps.brain_ml:.0f} ml of brain; registered to {escape(steps.reference)}."
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<h2>{case}</h2><p>{about}</p><table>{table}</table><p><img alt="Preview of {case}" src="{source}"></p>'
