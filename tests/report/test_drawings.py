"""Matplotlib's SVG made small for a page: what it draws is what it drew, with numbers rounded to a tenth of a point."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest

from benchmark.report.drawings import TILE, inline_svg, short_path
from benchmark.report.figures import HATCHES, STYLE, also, new_figure, training_curves
from benchmark.report.probabilities import reliability


def corners(data):
    """Every point that a path names, in absolute coordinates: an own, plain reading of SVG's rules."""
    found, here, start, kind = [], np.zeros(2), np.zeros(2), ""
    tokens = re.findall(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)", data)
    while tokens:
        if tokens[0].isalpha():
            kind = tokens.pop(0)
        if kind in "Zz":
            found.append("z")
            here = start
            continue
        count = {"m": 1, "l": 1, "h": 1, "v": 1, "q": 2, "c": 3}[kind.lower()]
        origin = here if kind.islower() else np.zeros(2)
        for _ in range(count):
            if kind.lower() in "hv":
                step = float(tokens.pop(0))
                here = origin + ([step, 0] if kind.lower() == "h" else [0, step])
            else:
                here = origin + np.array([tokens.pop(0), tokens.pop(0)], float)
            found.append(tuple(np.round(here, 6)))
        if kind in "Mm":
            start, kind = here, "l" if kind == "m" else "L"
    return found


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 10 20 L 30 20 L 30 50.25 L 10 50 z ", "M10 20h20v30.2l-20-.2z"),
        ("M 100 0 L 100 0 L 99.9 0.1", "M100 0h0l-.1 .1"),
        ("M 0 3.5 L -3.456 0 C 1 1 2 2 3.004 3 M 1 1", "M0 3.5l-3.46-3.5c4.46 1 5.46 2 6.46 3M1 1"),
        ("M 5 5 L 6 6 z M 20 5 L 21 6", "M5 5l1 1zM20 5l1 1"),
        ("M 1 1 a 2 2 0 0 1 3 3", "M 1 1 a 2 2 0 0 1 3 3"),
    ],
)
def test_a_path_goes_on_by_steps(data, short):
    assert short_path(data) == short


def test_steps_lead_where_the_path_led_and_errors_do_not_add_up():
    random = np.random.default_rng(0)
    points = random.uniform(0, 500, (400, 2))
    data = "M " + " L ".join(f"{x:.6f} {y:.6f}" for x, y in points) + " z M 3 4 Q 5 6 7 8 L 9 9 z"
    then, now = corners(data), corners(short_path(data))
    assert len(then) == len(now) == 406 and [one == "z" for one in then] == [one == "z" for one in now]
    pairs = [(one, other) for one, other in zip(then, now, strict=True) if one != "z"]
    assert max(abs(np.subtract(one, other)).max() for one, other in pairs) <= 0.05 + 1e-6


def test_ids_and_styles_of_two_drawings_do_not_meet():
    svg = (
        '<?xml version="1.0"?><svg viewBox="0 0 9 9"><metadata>x</metadata>'
        '<defs><path id="m" d="M 0 1" style="stroke: red"/></defs>'
        '<g id="line2d_1"><g clip-path="url(#p)"><use xlink:href="#m" x="12.345" y="1" style="fill: red"/>\n'
        '<use xlink:href="#m" x="1" y="2" style="fill: red"/></g></g><clipPath id="p"></clipPath></svg>'
    )
    one, other = (inline_svg(svg, name, "c7") for name in ("f0", "f1"))
    assert re.sub("f0", "f1", one) == other
    assert re.findall(" id=([^ >]*)", one) == ["f0i0", "f0i1"] and "metadata" not in one
    assert "<g class=b><use class=a href=#f0i0 x=12.3 y=1 /><use class=a href=#f0i0 x=1 y=2 /></g>" in one
    # The names of looks are those of other drawings too, and the rules for them are not.
    assert ".f0 .a{fill:red}.f0 .b{clip-path:url(#f0i1)}" in one and 'aria-labelledby="c7"' in one


def drawn(figure, path):
    """A figure's SVG, and that SVG as a part of a page."""
    figure.savefig(path)
    return path.read_text(), inline_svg(path.read_text(), "f0", "c0")


def test_every_mark_line_and_word_of_a_figure_is_still_there(tmp_path):
    values = np.random.default_rng(1).uniform(0.5, 1, (2, 20))
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(4, 3)
        axes[0, 0].boxplot([*values], patch_artist=True)
        for place, (group, marker) in enumerate(zip(values, "os", strict=True)):
            jitter = np.linspace(place + 0.9, place + 1.1, 20)
            axes[0, 0].plot(jitter, group, marker, markersize=3, label=f"x < {place}")
        axes[0, 0].legend()
        text, small = drawn(figure, tmp_path / "a.svg")
    assert len(small) < len(text) / 4
    words = re.findall(r"<text[^>]*>([^<]*)", text)
    assert re.findall(r"<text[^>]*>([^<]*)", small) == words and "x &lt; 1" in words
    marks = re.findall(r'<path class=(\w+) d="([^"]*)"', small)
    marks = [(one, data) for one, data in marks if f".f0 .{one}{{fill:none;marker:url(" in small]
    wanted = [re.findall(r'<use [^>]*x="([^"]*)" y="([^"]*)"', group) for group in text.split("<g ") if "<use" in group]
    many = [np.array(group, float) for group in wanted if len(group) == 20]
    assert len(marks) == len(many) == 2 and len({kind for kind, _ in marks}) == 2
    for (kind, path), places in zip(marks, many, strict=True):
        assert abs(np.array(corners(path)) - places).max() <= 0.1
        marker = re.search(rf"\.f0 \.{kind}{{fill:none;marker:url\(#(\w+)\)}}", small)[1]
        assert f"<marker id={marker} " in small
    used = set(re.findall(r"(?:url\(|href=)#([\w]+)", small))
    assert used <= set(re.findall(r" id=(\w+)", small))
    said = re.findall(r' class=(?:"([^"]+)"|([^ >]+))', small)
    classes = {one for several in said for one in "".join(several).split()} - {"f0"}
    assert classes == set(re.findall(r"\.f0 \.(\w+)\{", small))


def test_a_line_is_cut_off_by_its_frame_only_where_it_leaves_it(tmp_path):
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(4, 2, 1, 2)
        for axis, top in zip(axes[0], (0.9, 1.02), strict=True):
            axis.plot([0.1, 0.5, 0.9], [0.1, top, 0.2], "o-")
            axis.set(xlim=(0, 1), ylim=(0, 1))
        _, small = drawn(figure, tmp_path / "a.svg")
    assert small.count("<clipPath") == 1 == small.count("{clip-path:")
    (one,) = re.findall(r"\.f0 \.(\w+)\{clip-path:", small)
    cut = [data for kind, data in re.findall(r'class="([^"]*)" d="([^"]*)"', small) if one in kind.split()]
    assert cut and all(len(corners(data)) == 3 for data in cut)
    # Line and marks of the other are one path.
    both = [kind for kind, _ in re.findall(r'<path class="([^"]*)" d="([^"]*)"', small) if one not in kind.split()]
    assert len(both) == 1 and len(both[0].split()) == 2


def test_words_beside_or_above_each_other_share_their_place(tmp_path):
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(4, 3)
        axes[0, 0].set(xticks=[0, 1, 2], yticks=[0, 1, 2, 3])
        text, small = drawn(figure, tmp_path / "a.svg")
    places = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)', text)
    found = []
    for across, down, words in re.findall(r'<g class=\w+ transform="translate\(([\d.]+) ([\d.]+)\)">(.*?)</g>', small):
        for side, at, word in re.findall(r"<text ([xy])=([\d.]+)>([^<]*)", words):
            x, y = (float(across) + float(at), down) if side == "x" else (across, float(down) + float(at))
            found.append((float(x), float(y), word))
    assert [word for *_, word in found] == [word for *_, word in places] == ["0", "1", "2", "0", "1", "2", "3"]
    assert abs(np.array(found)[:, :2].astype(float) - np.array(places)[:, :2].astype(float)).max() <= 0.06


def test_circles_are_circles_and_other_curves_are_not(tmp_path):
    from matplotlib.patches import Ellipse

    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(3, 3)
        axes[0, 0].plot([1, 2, 3], [1, 2, 3], "o", markersize=7, markeredgewidth=0)
        axes[0, 0].add_patch(Ellipse((2, 2), 1, 0.5))
        text, small = drawn(figure, tmp_path / "a.svg")
    assert re.findall(r"<circle [^>]*r=([\d.]+)", small) == ["3.5"]
    assert len(re.findall(r' d="[^"]*c[^"]*"', small)) == 1 == text.count("C ") // 8 - 1


def crossing(lines, size):
    """Directions and offsets of the lines through the inside of a square."""
    found = set()
    for x, y, end_x, end_y in lines:
        across, down = (
            (end_y - y) / max(abs(end_y - y), abs(end_x - x)),
            (x - end_x) / max(abs(end_y - y), abs(end_x - x)),
        )
        sides = [across * (a - x) + down * (b - y) for a in (0, size) for b in (0, size)]
        if min(sides) < -1e-9 and max(sides) > 1e-9:
            if (across, down) < (0, 0):
                across, down = -across, -down
            found.add((round(across, 6), round(down, 6), round(across * x + down * y, 6)))
    return found


@pytest.mark.parametrize("hatch", [hatch for hatch in HATCHES if hatch])
def test_a_hatch_is_the_same_in_tiles(tmp_path, hatch):
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(3, 3)
        axes[0, 0].bar([1], [1], hatch=hatch, facecolor="white", edgecolor="black")
        text, small = drawn(figure, tmp_path / "a.svg")
    (whole,), (tile,) = (re.findall(r'<pattern.*?<path[^>]* d="([^"]*)"', one, re.DOTALL) for one in (text, small))
    assert f"width={TILE} height={TILE}" in small and len(tile) < len(whole) / 3
    full, part = (np.array(corners(data), float).reshape(-1, 4) for data in (whole, tile))
    steps = np.arange(0, 72, TILE)
    tiled = [np.add(line, (x, y, x, y)) for line in part for x in steps for y in steps]
    # Those along the edge of a square are drawn by the next one.
    assert crossing(tiled, 72) == crossing(full, 72)


def test_curves_of_many_models_are_a_small_part_of_a_page(tmp_path):
    random, models = np.random.default_rng(0), [f"model_{index}/default" for index in range(13)]
    epochs = np.arange(1, 13)
    histories = {
        f"{model}/fold{fold}-seed1": pd.DataFrame(
            {"epoch": epochs, **{name: random.uniform(0, 1, 12) for name in ("train_loss", "val_loss", "val_dice")}}
        )
        for model in models
        for fold in range(3)
    }
    bins = np.linspace(0.02, 0.98, 20)
    curves = [
        pd.DataFrame({"model": model, "region": region, "bin": range(20), "n": 1000, "probability": bins,
                      "share": random.uniform(0, 1, 20)})
        for model in models for region in ("WT", "TC", "ET")
    ]  # fmt: skip
    with also(["svg"]):
        paths = [training_curves(tmp_path / "a.png", histories), reliability(tmp_path / "b.png", pd.concat(curves), {})]
    sizes = [len(inline_svg(path.with_suffix(".svg").read_text(), "f0", "c0")) for path in paths]
    assert sizes[0] < 40_000 and sizes[1] < 30_000, sizes


def test_the_frame_of_a_mark_is_not_moved_with_it(tmp_path):
    """SVG moves what cuts off a <use> by its x and y: a mark far from the corner was cut off whole."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(3, 2)
        axes[0, 0].plot([0.5], [0.5], "o", label="its look is that of the legend's")
        axes[0, 0].legend()
        _, small = drawn(figure, tmp_path / "a.svg")
    (frame,) = re.findall(r"\.f0 \.(\w+)\{clip-path", small)
    assert re.search(rf"<g class={frame}><use [^>]*href=", small)
    assert not re.search(rf'<use[^>]* class="?[\w ]*\b{frame}\b', small)
