"""Change files at random, and print each that a reader of data sets answers with anything but a result or one sentence.

    python research/fuzz/readers.py [--seconds 600] [--seed 1] [--only a.mha a.nrrd]

Declared files (manifests, case lists, folds, places, COCO files, outlines) lose, double or change entries; images
(NIfTI, MetaImage, NRRD, PNG, JPEG, TIFF) lose, double or change bytes, most of them in the header. Exit code 1 if
anything was found.
"""

import argparse
import contextlib
import gzip
import io
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from PIL import Image

from benchmark.base.records import InputError
from benchmark.data import outlines, pictures
from benchmark.data.audit.splits import read_splits
from benchmark.data.folds import read_folds
from benchmark.data.manifest import known, load_cases, load_manifest
from benchmark.data.volumes import read_volume

ROOT = Path(__file__).parents[2]
VALUES = [
    *(None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", "x", "a" * 3000, "../x", "\n", "\x1b[1m"),
    *("\ud800", [], {}, [[]], [None], {"": None}, 3.5, "0", "[", "(?P<patient>", "(?P<patient>.*)", "*", "a*b.tif"),
]
"""What may take the place of an entry."""
SLOW, LARGE = 5, 2048
"""Seconds of the processor and MB that no reader may take."""

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 30, "height": 20}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}],
    "categories": [{"id": 1, "name": "tumour"}],
}


class Target(NamedTuple):
    """A file as it should be, what changes it, and what reads it."""

    content: bytes
    change: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], object]


def declared_files() -> dict[str, Target]:
    """Each declared file of a data set."""

    def committed(name: str) -> Any:
        return json.loads((ROOT / "data_manifests" / name).read_text(encoding="utf-8"))

    cases = committed("phantom.cases.json")
    cases["cases"] = cases["cases"][:3]
    files: dict[str, tuple[Any, Callable[[Path], object]]] = {
        **{f"data_manifests/{name}.json": (committed(f"{name}.json"), lambda path: load_manifest(path.stem))
           for name in ("brats2018", "lgg", "msd_brain", "phantom", "tumor2146")},
        "data_manifests/phantom.cases.json": (cases, lambda path: load_cases("phantom")),
        "data_manifests/phantom.folds.json": (
            committed("phantom.folds.json"), lambda path: (read_folds("phantom"), read_splits(load_cases("phantom")))
        ),
        "runs/data/locations.json": ({"phantom": "nowhere"}, lambda path: known()),
        "coco.json": (COCO, lambda path: (outlines.read_coco_file(path), outlines.read_label_map(path, 1, None))),
        "outlines.json": ({"1": [[1, 1], [5, 1], [5, 5]]}, lambda path: outlines.read_label_map(path, 1, (30, 20))),
    }  # fmt: skip
    return {name: Target(json.dumps(content).encode(), changed_json, read) for name, (content, read) in files.items()}


def image_files() -> dict[str, Target]:
    """A small image of each kind that is read."""
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes()
    mha = (
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        b"TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 1.5 -2 3e1\nCenterOfRotation = 0 0 0\n"
        b"AnatomicalOrientation = RAI\nElementSpacing = 1 2 3.5\nDimSize = 4 5 6\nID = 1\nColor = 1 1 1 1\n"
        b"ElementNumberOfChannels = 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    nrrd = (
        b"NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: RAS\nsizes: 4 5 6\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (1,2,-3.5)\nkinds: domain domain domain\n"
        b'space units: "mm" "mm" "mm"\nendian: little\nencoding: gzip\nkey:=value\n\n'
    ) + gzip.compress(voxels.tobytes())
    files = {"a.nii": image, "a.nii.gz": gzip.compress(image), "a.mha": mha + voxels.tobytes(), "a.nrrd": nrrd}
    exif = Image.Exif()
    exif[274] = 3
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    for name, kind in {"a.png": "PNG", "a.jpg": "JPEG", "a.tif": "TIFF"}.items():
        stream = io.BytesIO()
        picture.save(stream, kind, exif=exif)
        files[name] = stream.getvalue()
    return {
        name: Target(content, shuffled if name in ("a.mha", "a.nrrd") else spoiled, read_image)
        for name, content in files.items()
    }


def changed(content: Any, draw: random.Random) -> Any:
    """Lose, double, rename or replace one entry, however deep."""
    if not isinstance(content, dict | list) or not content or draw.random() < 0.15:
        return draw.choice(VALUES)
    content, what = content.copy(), draw.random()
    key = draw.randrange(len(content)) if isinstance(content, list) else draw.choice(list(content))
    if what < 0.2:
        del content[key]
    elif what < 0.3 and isinstance(content, list):
        content.append(content[key])
    elif what < 0.3:
        content[draw.choice(["x", "", str(key).upper()])] = content[key]
    else:
        content[key] = changed(content[key], draw)
    return content


def changed_json(content: bytes, draw: random.Random) -> bytes:
    """Change one entry of a JSON file, and now and then its bytes too."""
    text = json.dumps(changed(json.loads(content), draw)).encode("utf-8", "surrogatepass")
    return spoiled(text, draw) if draw.random() < 0.1 else text


def spoiled(content: bytes, draw: random.Random) -> bytes:
    """Change, lose or insert a few bytes, most of them near the beginning."""
    found = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        at, what = draw.randrange(min(len(found), 600) if draw.random() < 0.8 else len(found)), draw.random()
        if what < 0.6:
            found[at] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
        elif what < 0.75:
            found[at : at + 4] = draw.choice([b"\xff\xff\xff\x7f", bytes(4), b"\xff" * 4, b"\x00\x00\xc0\x7f"])
        elif what < 0.85:
            del found[at : at + draw.randrange(1, 20)]
        else:
            found[at:at] = draw.randbytes(draw.randrange(1, 9))
        found = found or bytearray(b"x")
    return bytes(found)


def answer(read: Callable[[Path], object], path: Path) -> str:
    """Read a file, and say what is wrong with the answer, if anything is."""
    started, memory = time.process_time(), most_memory()
    try:
        read(path)
    except InputError as error:
        return "" if len(str(error).splitlines()) == 1 else f"more than one line: {str(error)!r}"
    except Exception as error:
        places = (
            f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]
        )
        return f"{type(error).__name__} at {' '.join(places)}: {str(error)[:200]}"
    if (took := time.process_time() - started) > SLOW:
        return f"slow: {took:.1f} s"
    return f"large: {most_memory()} MB" if most_memory() > max(LARGE, memory) else ""


def most_memory() -> int:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def read_image(path: Path) -> None:
    """Read an image file in every way."""
    read_volume(path)
    if pictures.is_picture(path):
        pictures.size_of(path)
        pictures.is_turned(path)


def shuffled(content: bytes, draw: random.Random) -> bytes:
    """Lose, double, move or mix the lines and words of a header, but keep what follows it; or change bytes."""
    if draw.random() < 0.4:
        return spoiled(content, draw)
    lines, place = content.split(b"\n"), draw.randrange(1, 12)
    words, other = lines[place].split(b" "), draw.choice(lines[:12]).split(b" ")
    word = draw.choice([b"-1", b"0", b"1e999", b"nan", b"99999999999", b"none", b"", b"%s" * 50, b"(", *words, *other])
    at, what = draw.randrange(len(words)), draw.random()
    words[at : at + draw.randrange(2)] = [word] * draw.choice([0, 1, 1, 1, 9])
    lines[place] = b" ".join(words)
    if what < 0.3:
        lines.insert(draw.randrange(12), lines[place] if what < 0.15 else lines.pop(place))
    return b"\n".join(lines)


def search(targets: Mapping[str, Target], seconds: float, draw: random.Random, only: Sequence[str]) -> int:
    """Try changed files for so long; print what is found, once per place, and return how many these are."""
    found, tries = set[str](), 0
    for name, target in targets.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(target.content)
    for name in only or targets:
        if wrong := answer(targets[name].read, Path(name)):
            print(f"{name}, unchanged: {wrong}")
            found.add(name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tries += 1
        path = Path(draw.choice(only or [*targets]))
        name, (content, change, read) = str(path), targets[str(path)]
        text = change(content, draw)
        path.write_bytes(text)
        wrong = answer(read, path)
        if wrong and (key := f"{name} {wrong.split(':')[0]}") not in found:
            found.add(key)
            print(f"{name}: {wrong}\n    {text[:300]!r}", flush=True)
        path.write_bytes(content)
    print(f"{tries} files, {len(found)} wrong answers, {most_memory()} MB at most")
    return len(found)


def main(about: str | None, targets: Callable[[], Mapping[str, Target]]) -> None:
    """Search for as long as the command line says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="files to try, of those in this script")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("bundles").mkdir()  # which makes this a project
        sys.exit(1 if search(targets(), options.seconds, random.Random(options.seed), options.only) else 0)


if __name__ == "__main__":
    main(__doc__, lambda: {**declared_files(), **image_files()})
