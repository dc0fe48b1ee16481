"""Make matplotlib's SVG a small part of a page: what it repeats is said once, and nothing that is drawn is left out.

Scour, the library for it, knows nothing of matplotlib's ways: it leaves the ten figures of the largest report at
662 kB, where this leaves 146 kB.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import chain, product
from string import ascii_letters

NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")
FONTS = "DejaVu Sans,Verdana,sans-serif"
ROUNDED = 0.15
"""Points by which what is within a frame may be beyond it once both are rounded."""
TILE = 12
"""Points after which each of the figures' hatches, whose lines are 3, 4 or 6 apart, is the same again."""
CURVES = 8
"""Curves of which matplotlib makes a circle."""
FEWEST_MARKS = 3
"""Marks of one kind from which on they are corners of a path, a dozen bytes each instead of forty."""


def inline_svg(text: str, name: str, caption: str) -> str:
    """Make matplotlib's SVG a part of a page: ids begin with ``name``, repeated styles are classes, numbers are short.

    ``caption`` is the id of what a screen reader says of it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"; font-family: [^;\"]*|stroke-dashoffset: 0; ", "", text)
    # Half a line's width at its ends and corners: all corners are round in the page, by one rule.
    text = re.sub(r"; stroke-line(?:join|cap): \w+|stroke-line(?:join|cap): \w+; ", "", text)
    text = re.sub("<pattern.*?</pattern>", _tile, text, flags=re.DOTALL)
    text = re.sub(r'<path( id="[^"]*")? d="([^"]*)"', _round, text)
    used = sorted(set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text)))
    short = {old: f"{name}i{number}" for number, old in enumerate(used)}
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", text)
    text = re.sub(r'xlink:href="#([^"]+)', lambda found: f'href="#{short[found[1]]}', text)
    text = re.sub(r"url\(#([^)]+)", lambda found: f"url(#{short[found[1]]}", text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"|<defs>\s*</defs>', "", text)
    text = re.sub(r' transform="translate\(([\d.]+) ([\d.]+)\)"(?=>)', r' x="\1" y="\2"', text)
    text = text.replace("#000000", "#000").replace("#ffffff", "#fff")
    # Of coordinates only: what is between tags is printed.
    text = re.sub("<[^>]*>", lambda tag: NUMBER.sub(_rounded, tag[0]), text)
    text = _ungrouped(re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", text)))
    rules, text = _with_classes(text, name)
    text = _clipped(text, rules, name)
    more, text = _with_markers(text, name)
    text = _unclipped(_merged(text, rules), rules)
    text = re.sub(r' d="([^"]*)"', lambda found: f' d="{short_path(found[1])}"', text)
    text = re.sub(r' style="[^"]*"', lambda found: re.sub("([:;]) ", r"\1", found[0]), text)
    rule = re.sub("([:;]) ", r"\1", "".join(f".{one}{{{style}}}" for one, style in rules.items()) + more)
    rule, text = _named(rule, _grouped(text), name)
    rule += f".{name} *{{stroke-linejoin:round}}.{name} text{{font-family:{FONTS}}}"
    # HTML asks for no quotes around one word.
    text = re.sub(r"<\w[^>]*>", lambda tag: re.sub(r'="([\w.#-]+)"(/(?=>))?', _bare, tag[0]), text)
    head, _, body = text.partition(">")
    size = "".join(re.findall(r' viewBox="[^"]*"| width=[^ ]*', head))
    return f'<svg class="{name}" role="img" aria-labelledby="{caption}"{size}><style>{rule}</style>{body}'.strip()


def short_path(data: str) -> str:
    """Write a path of absolute M, L, C, Q and z, rounded to a tenth (small ones to a hundredth), by relative steps."""
    tokens = re.findall(r"[A-Za-z]|-?[\d.]+(?:e-?\d+)?", data)
    if set(data) & set("HhVvSsTtAalmcq"):
        return data
    scale = 10 if any(abs(float(one)) >= 10 for one in tokens if not one.isalpha()) else 100
    said, last, here, start, place = list[str](), "", (0, 0), (0, 0), 0
    while place < len(tokens):
        if tokens[place].isalpha():
            kind, place = tokens[place].upper(), place + 1
        if kind == "Z":
            said.append("z")
            here, last = start, "z"
            continue
        count = {"M": 2, "L": 2, "Q": 4, "C": 6}[kind]
        ends = [round(float(one) * scale) for one in tokens[place : place + count]]
        place += count
        steps = [value - here[index % 2] for index, value in enumerate(ends)]
        here = (ends[-2], ends[-1])
        command, numbers = kind.lower(), steps
        if kind == "M":
            command, numbers, start, kind = "M", ends, here, "L"
        elif kind == "L" and 0 in steps:
            command, numbers = ("h", steps[:1]) if steps[1] == 0 else ("v", steps[1:])
        said.append(_joined(command if command != last else "", [_decimal(one, scale) for one in numbers]))
        last = command
    return "".join(said)


def _joined(command: str, numbers: list[str]) -> str:
    """A path's command with its numbers; none where it is that of the numbers before, which a space may part."""
    text = command
    for number in numbers:
        text += number if number.startswith("-") or text == command != "" else f" {number}"
    return text


def _decimal(value: int, scale: int) -> str:
    text = f"{value / scale:.{len(str(scale)) - 1}f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", text) or "0"


def _rounded(found: re.Match[str]) -> str:
    value = float(found[0])
    return f"{value:.{1 if value >= 10 else 2}f}".rstrip("0").rstrip(".")


def _bare(found: re.Match[str]) -> str:
    return f"={found[1]}{' /' if found[2] else ''}"


def _tile(found: re.Match[str]) -> str:
    """A hatch as its smallest part that is the same again beside it, instead of 72 points in square."""
    lines = re.findall(r"M (-?[\d.]+) (-?[\d.]+) \s*L (-?[\d.]+) (-?[\d.]+)", found[0])
    if len(lines) != len(re.findall("[A-Z] -?[.0-9]", found[0])) / 2:
        return found[0]
    kept = []
    for x, y, end_x, end_y in ([float(number) for number in line] for line in lines):
        corners = [(across, down) for across in (-1, TILE + 1) for down in (-1, TILE + 1)]
        sides = [(end_x - x) * (down - y) - (end_y - y) * (across - x) for across, down in corners]
        kept += [f"M {x:g} {y:g} L {end_x:g} {end_y:g}"] * (min(sides) < 0 < max(sides))
    text = re.sub(r' d="[^"]*"', f' d="{" ".join(kept)}"', found[0])
    return text.replace('="72"', f'="{TILE}"').replace('="73"', f'="{TILE + 1}"')


def _round(found: re.Match[str]) -> str:
    """A circle as what it is, where matplotlib draws eight curves; any other path as it is."""
    ends = [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.e-]+) (-?[\d.e-]+) *(?=[CzM\n]|$)", found[2])]
    sizes = [math.hypot(x, y) for x, y in ends]
    if found[2].count("C") != CURVES or len(ends) != CURVES + 1 or max(sizes) - min(sizes) > 1e-3 * max(sizes):
        return found[0]
    return f'<circle{found[1] or ""} r="{sizes[0]:.4f}"'


def _ungrouped(text: str) -> str:
    """Leave out groups that say nothing of what they hold."""
    kept, said = list[bool](), list[str]()
    for part in re.split(r"(<g\b[^>]*>|</g>)", text):
        if part == "</g>":
            said.append(part * kept.pop())
        elif part.startswith("<g") and not part.endswith("/>"):
            kept.append(part != "<g>")
            said.append(part * kept[-1])
        elif not part.startswith("<g"):
            said.append(part)
    return "".join(said)


def _with_classes(text: str, name: str) -> tuple[dict[str, str], str]:
    """Give styles that are there more than once to classes; return the style of each class and the SVG with them."""
    counts = Counter(re.findall(r' style="([^"]*)"', text))
    repeated = sorted(style for style, count in counts.items() if count > 1)
    classes = {style: f"{name}c{number}" for number, style in enumerate(repeated)}

    def classed(found: re.Match[str]) -> str:
        return f' class="{classes[found[1]]}"' if found[1] in classes else found[0]

    return {one: style for style, one in classes.items()}, re.sub(r' style="([^"]*)"', classed, text)


def _clipped(text: str, rules: dict[str, str], name: str) -> str:
    """Say by a class where a drawing is cut off; add the style of each such class to ``rules``."""
    for number, frame in enumerate(sorted(set(re.findall(r' clip-path="([^"]*)"', text)))):
        one, attribute = f"{name}k{number}", re.escape(f' clip-path="{frame}"')
        rules[one] = f"clip-path: {frame}"
        text = re.sub(f'{attribute} class="([^"]*)"', rf' class="\1 {one}"', text)
        text = re.sub(f"{attribute}(?= style=|>|/>)", f' class="{one}"', text)
    # What a mark has itself it need not be told. Its group keeps the frame: a <use> would move that by its own x and y.
    looks = dict(re.findall(r'<(?:path|circle) id="([^"]*)"[^>]*? class="([^"]*)"/>', text))

    def told(found: re.Match[str]) -> str:
        return found[0].replace(f' class="{found[2]}"', "") if looks.get(found[1]) == found[2] else found[0]

    return re.sub(r'<use href="#([^"]*)"[^>]*? class="([^"]*)"/>', told, text)


def _grouped(text: str) -> str:
    """Put words of one look that follow each other into a group of that look, and of their place if they share one."""

    def as_group(found: re.Match[str]) -> str:
        words, place = found[0].replace(found[2], ""), ""
        for side, other in (("x", "{} 0"), ("y", "0 {}")):
            shared = set(re.findall(rf' {side}="([^"]*)"', words))
            if len(shared) == 1 and "transform" not in words:
                place += f' transform="translate({other.format(*shared)})"'
                words = re.sub(rf' {side}="[^"]*"', "", words)
                break
        return f'<g class="{found[1]}"{place}>{words}</g>'

    word = r"[^>]*>[^<]*</text>"
    return re.sub(rf'<text(?= class="([^"]*)")( class="[^"]*"){word}(?:<text\2{word}){{2,}}', as_group, text)


def _named(rule: str, text: str, name: str) -> tuple[str, str]:
    """Give classes the shortest names, the most frequent the shortest, which mean something in this drawing only."""
    counts = Counter(one for several in re.findall(r' class="([^"]*)"', text) for one in several.split())
    short = chain(ascii_letters, map("".join, product(ascii_letters, ascii_letters)))
    names = {one: next(short) for one, _ in counts.most_common()}

    def renamed(found: re.Match[str]) -> str:
        return f'<{found[1]} class="{" ".join(names[one] for one in found[3].split())}"{found[2]}'

    rule = re.sub(r"\.(\w+)\{", lambda found: f".{name} .{names[found[1]]}{{" if found[1] in names else "._{", rule)
    return re.sub(r"\._\{[^}]*\}", "", rule), re.sub(r'<(\w+)([^>]*?) class="([^"]*)"', renamed, text)


def _with_markers(text: str, name: str) -> tuple[str, str]:
    """Draw marks of one kind as the markers of a path without a line; return the rules for these and the SVG."""
    kinds: dict[tuple[str, str], str] = {}

    def as_path(found: re.Match[str]) -> str:
        places = re.findall(r' x="([^"]*)" y="([^"]*)"', found[2])
        if len(places) < FEWEST_MARKS:
            return found[0]
        kind = kinds.setdefault((found[3], found[4]), f"{name}m{len(kinds)}")
        corners = " L ".join(f"{x} {y}" for x, y in places)
        return f'<path d="M {corners}" class="{kind} {found[1]}"/>'

    mark = '<use href="{}" x="[^"]*" y="[^"]*" class="{}"/>'
    first, others = mark.format('(#[^"]*)', '([^"]*)'), mark.format(r"\3", r"\4")
    text = re.sub(f'<g class="([^"]*)">({first}(?:{others})*)</g>', as_path, text)
    drawn = "".join(
        f'<marker id="{kind}" markerUnits="userSpaceOnUse" overflow="visible">'
        f'<use href="{shape}" class="{look}"/></marker>'
        for (shape, look), kind in kinds.items()
    )
    rules = "".join(f".{kind}{{fill:none;marker:url(#{kind})}}" for kind in kinds.values())
    return rules, text.replace("</svg>", f"<defs>{drawn}</defs></svg>" if drawn else "</svg>")


def _merged(text: str, rules: dict[str, str]) -> str:
    """Draw lines of one look as one path, where there is nothing but words between them, and a line with its marks."""

    def as_one(found: re.Match[str]) -> str:
        parts, words = re.findall(r' d="([^"]*)"', found[0]), re.findall(r"<text.*?</text>", found[0])
        return f'<path d="{" ".join(parts)}"{found[1]}/>{"".join(words)}'

    for one in (name for name, style in rules.items() if "fill: none" in style and "opacity" not in style):
        look = f'( class="{one}(?: [^"]*)?")'
        words = "(?:<text[^>]*>[^<]*</text>)*"
        text = re.sub(rf'<path d="[^"]*"{look}/>(?:{words}<path d="[^"]*"\1/>)+', as_one, text)
    lined = r'<path d="([^"]*)" class="(\w+)([^"]*)"/>(<defs>.*?</defs>)?<path d="([^"]*)" class="(\w+m\d+)\3"/>'

    def with_marks(found: re.Match[str]) -> str:
        data, line, more, shape, corners, mark = found.groups(default="")
        same = data.strip() == corners and "fill: none" in rules.get(line, "")
        return f'{shape}<path d="{corners}" class="{line} {mark}{more}"/>' if same else found[0]

    return re.sub(lined, with_marks, text)


def _unclipped(text: str, rules: dict[str, str]) -> str:
    """Take the frame off what lies within it, and the frames that nothing has then; their rules too."""
    for frame, rect in re.findall(r'<clipPath id="([^"]*)"><rect ([^>]*)/></clipPath>', text):
        sides = {side: float(value) for side, value in re.findall(r'(\w+)="([^"]*)"', rect)}
        one = next((name for name, style in rules.items() if style == f"clip-path: url(#{frame})"), "")
        freed = partial(_freed, sides, one)
        text = re.sub(rf'<path d="([^"hHvVaAsStT]*)" class="[^"]* {one}"/>', freed, text) if one else text
        if one and not re.search(rf"\b{one}\b", text):
            text = re.sub(rf'<clipPath id="{frame}">.*?</clipPath>', "", text)
            del rules[one]
    return text


def _freed(sides: Mapping[str, float], one: str, found: re.Match[str]) -> str:
    """A path without the class ``one`` of its frame, if no corner is outside of that."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", found[1])]
    for values, start, length in ((numbers[::2], "x", "width"), (numbers[1::2], "y", "height")):
        if min(values) < sides[start] - ROUNDED or max(values) > sides[start] + sides[length] + ROUNDED:
            return found[0]
    return found[0].replace(f" {one}", "")
