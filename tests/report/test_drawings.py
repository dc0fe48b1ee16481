"""Matplotlib's SVG made small for a page: what it draws is what it drew, with numbers rounded to a tenth of a point."""

import re

import matplotlib
import numpy as np
import pytest

from benchmark.report.drawings import inline_svg, short_path
from benchmark.report.figures import STYLE, new_figure


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
    one, other = (inline_svg(svg, name, "A & B") for name in ("f0", "f1"))
    assert re.sub("f0", "f1", one) == other
    assert re.findall(" id=([^ >]*)", one) == ["f0i0", "f0i1"] and "metadata" not in one
    marks = "<g class=f0k0><use href=#f0i0 x=12.3 y=1 class=f0c0 /><use href=#f0i0 x=1 y=2 class=f0c0 /></g>"
    assert marks in one and 'aria-label="A &amp; B"' in one
    assert ".f0c0{fill:red}" in one and ".f0k0{clip-path:url(#f0i1)}" in one


def test_every_mark_line_and_word_of_a_figure_is_still_there(tmp_path):
    values = np.random.default_rng(1).uniform(0.5, 1, (2, 20))
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(4, 3)
        axes[0, 0].boxplot([*values], patch_artist=True)
        for place, (group, marker) in enumerate(zip(values, "os", strict=True)):
            jitter = np.linspace(place + 0.9, place + 1.1, 20)
            axes[0, 0].plot(jitter, group, marker, markersize=3, label=f"x < {place}")
        axes[0, 0].legend()
        figure.savefig(tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    small = inline_svg(text, "f0", "Boxes")
    assert len(small) < len(text) / 4
    words = re.findall(r"<text[^>]*>([^<]*)", text)
    assert re.findall(r"<text[^>]*>([^<]*)", small) == words and "x &lt; 1" in words
    marks = re.findall(r'<path d="([^"]*)" class="(f0m\d)', small)
    wanted = [re.findall(r'<use [^>]*x="([^"]*)" y="([^"]*)"', group) for group in text.split("<g ") if "<use" in group]
    many = [np.array(group, float) for group in wanted if len(group) == 20]
    assert len(marks) == len(many) == 2 and len({kind for _, kind in marks}) == 2
    for (path, kind), places in zip(marks, many, strict=True):
        assert abs(np.array(corners(path)) - places).max() <= 0.1
        assert f".{kind}{{fill:none;marker:url(#{kind})}}" in small and f"<marker id={kind} " in small
    used = set(re.findall(r"(?:url\(|href=)#([\w]+)", small))
    assert used <= set(re.findall(r" id=(\w+)", small))
    said = re.findall(r' class=(?:"([^"]+)"|([^ >]+))', small)
    classes = {one for several in said for one in "".join(several).split()} - {"f0"}
    assert classes == set(re.findall(r"\.(f0[ckm]\d+)\{", small))
