"""Fill the outlines of a JSON file, COCO annotations or lists of points by number, as label maps of one slice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmark.base import declared
from benchmark.base.files import kept
from benchmark.base.records import InputError

MARGIN = 1.0
"""How far, in pixels, a point may lie outside its picture: some tools round a border outwards."""

LARGEST = 100_000_000
"""Most pixels of a picture on which outlines are filled, whatever a file claims."""

Polygon = list[tuple[float, float]]
Number = Annotated[str, Field(pattern="^[0-9]+$")]


class _Entry(BaseModel):
    # Others' files: what is not needed is passed over.
    model_config = ConfigDict(extra="ignore", frozen=True)


class CocoImage(_Entry):
    """A picture, as COCO annotations list it."""

    id: int
    file_name: Annotated[str, Field(min_length=1, max_length=250)]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class CocoAnnotation(_Entry):
    """An outline of a picture, in polygons or as anything else that COCO allows."""

    id: int
    image_id: int
    segmentation: Any
    category_id: int | None = None


class CocoCategory(_Entry):
    """What the annotations of one category show."""

    id: int
    name: str


class CocoFile(_Entry):
    """A COCO annotation file."""

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...] = ()


# Hundreds of cases share one file; it is read once.
@kept
def read_coco_file(path: Path) -> CocoFile:
    """Read a COCO annotation file as it is: its ids may match nothing. InputError if it is none."""
    return declared.read(path, CocoFile, "COCO annotations")


@kept
def read_coco(path: Path) -> dict[int, tuple[CocoImage, list[Polygon]]]:
    """Read the pictures of a COCO annotation file by image id, each with its polygons of all categories.

    InputError if it is not such a file, an id or a name is there twice, an annotation is of no listed picture, a
    segmentation is not a list of polygons (run-length encoded masks are refused), or a polygon is none.
    """
    data = read_coco_file(path)
    images: dict[int, tuple[CocoImage, list[Polygon]]] = {}
    for image in data.images:
        if image.id in images:
            raise InputError(f"{path}: expected one image of id {image.id}, found two.")
        if image.width * image.height > LARGEST:
            size = f"{image.width} x {image.height} pixels of image {image.id}"
            raise InputError(f"{path}: expected pictures of at most {LARGEST:.0e} pixels, found {size}.")
        images[image.id] = (image, [])
    names = Counter(image.file_name for image in data.images)
    twice, count = next(iter(names.most_common(1)), ("", 0))
    if count > 1:
        raise InputError(f"{path}: expected one image named {twice}, found {count}.")
    for annotation in data.annotations:
        who = f"{path}: annotation {annotation.id}"
        if annotation.image_id not in images:
            raise InputError(f"{who}: expected the id of a listed image, found {annotation.image_id}.")
        image, polygons = images[annotation.image_id]
        polygons += _polygons(annotation.segmentation, image.width, image.height, who)
    return images


@kept
def read_numbered(path: Path) -> dict[int, Polygon]:
    """Read ``{"16": [[x, y], …], …}``, one outline per number, in pixels; InputError if it is not such a file."""
    found = declared.read(path, dict[Number, Polygon], "lists of [x, y] by number")
    return {int(number): polygon for number, polygon in found.items()}


def read_label_map(path: Path, index: int | None, size: tuple[int, int] | None) -> np.ndarray:
    """Fill the outlines of image ``index`` of a COCO file or, where ``size`` is given, outline ``index`` of a numbered
    file on a picture of that width and height: uint8 of shape (width, height, 1), 1 inside.
    InputError as read_coco and read_numbered, and if there is no such index.
    """
    if size is None:
        images = read_coco(path)
        if index not in images:
            raise InputError(f"{path}: expected an image of id {index}, found none.")
        image, polygons = images[index]
        return fill(polygons, image.width, image.height)
    if math.prod(size) > LARGEST:
        raise InputError(f"{path}: expected a picture of at most {LARGEST:.0e} pixels, found {size[0]} x {size[1]}.")
    outlines = read_numbered(path)
    if index not in outlines:
        raise InputError(f"{path}: expected an outline of number {index}, found none.")
    _check_polygon(outlines[index], *size, f"{path}: outline {index}")
    return fill([outlines[index]], *size)


def fill(polygons: Sequence[Polygon], width: int, height: int) -> np.ndarray:
    """Return the union of polygons as uint8 of shape (width, height, 1).

    The picture's upper left corner is (0, 0), and a pixel is 1 by 1: pixel (i, j) is inside a polygon when its centre
    (i + 1/2, j + 1/2) is, by the even-odd rule; a centre right on an edge counts for a left or upper edge only. So a
    region has the size of its outline, which Pillow's own filling exceeds by half a pixel on each side.
    """
    mask = np.zeros((width, height, 1), np.uint8)
    for polygon in polygons:
        start = np.array(polygon, np.float64)
        end = np.roll(start, -1, axis=0)
        first, last = np.clip(np.ceil([start[:, 1].min() - 0.5, start[:, 1].max() - 0.5]), 0, height).astype(int)
        inside = np.zeros((width, height), bool)
        for row in range(first, last):
            y = row + 0.5
            crossed = (start[:, 1] <= y) != (end[:, 1] <= y)
            (x0, y0), (x1, y1) = start[crossed].T, end[crossed].T
            crossings = np.sort(x0 + (y - y0) * (x1 - x0) / (y1 - y0))
            columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)
            for left, right in columns.reshape(-1, 2):
                inside[left:right, row] = True
        mask[inside] = 1
    return mask


def _polygons(segmentation: Any, width: int, height: int, who: str) -> list[Polygon]:
    """Return a COCO segmentation's polygons, each ``[x1, y1, x2, y2, …]`` in the file."""
    if not isinstance(segmentation, list) or not segmentation:
        found = "a run-length encoded mask, which is not read" if isinstance(segmentation, dict) else "none"
        raise InputError(f"{who}: expected a list of polygons, found {found}.")
    polygons = []
    for flat in segmentation:
        if not isinstance(flat, list) or len(flat) % 2 or not all(isinstance(v, int | float) for v in flat):
            raise InputError(f"{who}: expected a polygon of x and y in turn, found {str(flat)[:60]}.")
        polygon = list(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True))
        _check_polygon(polygon, width, height, who)
        polygons.append(polygon)
    return polygons


def _check_polygon(polygon: Polygon, width: int, height: int, who: str) -> None:
    if len(set(polygon)) < 3:
        raise InputError(f"{who}: expected a polygon of at least 3 points, found {len(set(polygon))}.")
    for x, y in polygon:
        if not (math.isfinite(x + y) and -MARGIN <= x <= width + MARGIN and -MARGIN <= y <= height + MARGIN):
            raise InputError(f"{who}: expected points in the picture of {width} x {height}, found ({x:g}, {y:g}).")
