"""The page for a browser: its numbers are the report's, it needs nothing else, and it works in Chromium."""

import html
import re
import time
from html.parser import HTMLParser

import pandas as pd
import pytest
from helpers.browser import BROWSER, browser
from helpers.results import MANIFEST, QUICK, STUDY, demo, view

from benchmark.base import project
from benchmark.base.records import InputError
from benchmark.report.figures import described
from benchmark.results import web
from benchmark.results.page import write
from benchmark.studies import study as studies

NAMES = {"unet": "U-Net", "la_resunet": "LA-ResUNet"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "demo"
    write(demo({**STUDY, "names": NAMES}, views=[view(), view("Worst of 18 cases")]), folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text()


def test_every_number_of_the_report_is_on_the_page_as_it_is_there(folder, page):
    plain = html.unescape(re.sub("<[^>]*>", "\n", page))
    cells = pd.read_csv(folder / "cells.csv", dtype=str, keep_default_na=False)
    cells = cells[cells["statistic"] != "rank"]
    assert len(cells) > 150
    assert not [text for text in cells["text"] if text.rstrip("†‡") not in plain]


def test_the_page_needs_no_other_file_and_is_small(page):
    assert len(page.encode()) < 300_000
    assert not re.findall(r'(?:src|href)="(?!data:|#|https?://)[^"]*"', page)
    assert (
        not re.findall(r"<(?:link(?! rel=\"icon\")|iframe|script src|img src=\"http)", page) and "@import" not in page
    )


def test_the_page_is_well_formed_and_no_id_is_there_twice(page):
    open_, ids = [], []
    optional, void = {"td", "th", "tr", "li", "p", "thead", "tbody"}, {"meta", "link", "img", "br"}

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            ids.extend(value for name, value in attributes if name == "id")
            if tag not in optional | void:
                open_.append(tag)

        def handle_endtag(self, tag):
            if tag not in optional:
                assert open_.pop() == tag

    Parser().feed(page)
    assert open_ == [] and len(ids) == len(set(ids))
    assert {link for link in re.findall('href="#([^"]+)"', page)} <= set(ids)


def test_the_verdict_comes_first_and_ranks_have_ranges_in_place_of_places(page):
    frame = page[page.index('class="verdict"') : page.index("</ul>")]
    assert frame.count("<li>") == 5 and "3 models on 18 patients" in frame and "Beware: Not trained" in frame
    ranking = page[page.index('id="s-ranking"') : page.index('id="s-cases"')]
    assert "95% of ranks in resamples" in ranking and ">Rank<" not in ranking
    assert re.search(r"<td>\d to \d<td>", ranking)


def test_what_is_secondary_is_folded_and_numbers_lead_to_explanations(page):
    folded = re.findall('<details><summary><h2 id="s-([^"]*)"', page)
    assert {"metrics-that-were-not-declared-for-comparison", "provenance", "sensitivity-to-the-method"} <= set(folded)
    assert not {"comparison", "ranking", "cases", "figures", "read-this-first"} & set(folded)
    assert "<details><summary>PHANTOM data, not patients. Power" in page
    link = re.search(r'<a href="#(answer-\d+)">0\.', page)[1]
    answer = page[page.index(f'id="{link}"') :]
    assert "seeds averaged within each of 18 cases" in answer[:3000]
    assert "benchmark explain demo --bundle unet --metric dice --region WT" in answer[:3000]
    assert "Patients that change that mean most when left out" in page


def test_figures_call_models_by_the_names_that_the_study_gives_them(page):
    drawings = "".join(re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert ">U-Net<" in drawings and ">unet<" not in drawings and ">resunet_tversky<" in drawings
    assert "Names in figures: U-Net is unet, LA-ResUNet is la_resunet." in page


@pytest.mark.parametrize(
    ("names", "said"),
    [({"net": "Net"}, "found 'net'"), ({"unet": "la_resunet"}, "found 'la_resunet' twice")],
)
def test_names_of_no_model_and_one_name_for_two_models_are_refused(names, said):
    with pytest.raises(InputError, match=said):
        assert demo({**STUDY, "names": names}).names


def test_pictures_of_cases_are_shown_once_and_only_where_they_may_be(folder, page, tmp_path, undrawn):
    assert page.count('<figure id="case_') == 2 and "Pictures of 2 cases" in page
    assert page.index("Best of 18 cases, phantom_1") < page.index("Worst of 18 cases, phantom_1")
    assert described(folder / "figures" / "case_2.png").startswith("Worst of 18 cases, phantom_1: FLAIR")
    real = demo(QUICK, {**MANIFEST, "source": "brats", "pictures": "private"}, histories={}, views=[view()], panels=())
    write(real, tmp_path / "report", tmp_path / "runs" / "figures")
    public, local = ((tmp_path / name / "report.html").read_text() for name in ("report", "runs"))
    assert "case_" not in public and "may not be published" in public and "runs/demo/report.html" in public
    assert '<figure id="case_1">' in local
    assert not list((tmp_path / "report").rglob("case_*"))


def test_pictures_that_were_drawn_stay_where_no_run_is_left(folder, page):
    write(demo({**STUDY, "names": NAMES}), folder)
    assert (folder / "report.html").read_text() == page


def test_formats_are_written_beside_png_only_if_asked_for(folder, tmp_path, undrawn):
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png"}
    write(demo(QUICK, histories={}, panels=()), tmp_path, formats=["svg", "pdf"])
    by_name = {}
    for path in (tmp_path / "figures").iterdir():
        by_name.setdefault(path.stem, set()).add(path.suffix)
    assert set(map(frozenset, by_name.values())) == {frozenset({".png", ".svg", ".pdf"})}


def test_the_page_over_all_studies_lists_each_with_its_verdict(tmp_path, monkeypatch):
    contents = {"one": '{"title": "A <study>"}', "two/small": "{", "three": "{}", "list": "[]", "older": "{}"}
    for name, content in contents.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "study.json").write_text(content)
    (tmp_path / "one" / "report.json").write_text('{"made_from": {}, "verdict": ["It is so."]}')
    (tmp_path / "one" / "report.html").write_text("")
    (tmp_path / "older" / "report.md").touch()
    monkeypatch.setattr(project, "reports", lambda: tmp_path)
    assert studies.names() == ["list", "older", "one", "three", "two/small"]
    text = web.write_index().read_text()
    assert '<a href="one/report.html">A &lt;study&gt;</a>' in text and "<li>It is so.</li>" in text
    assert '<a href="older/report.md">older</a>' in text and "list/study.json: expected an object" in html.unescape(
        text
    )
    assert "three: no report yet" in text and "two/small/study.json is not JSON" in html.unescape(text)


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOCUSED = "document.activeElement"
SECTION = "document.getElementById('s-{}').closest('section, details')"
COLUMN = "Array.from({}.querySelector('table').tBodies[0].rows, row => row.cells[{}].textContent)"


def tab_to(page, wanted):
    """Press Tab until the focus is where an expression says; return how often."""
    for count in range(1, 400):
        page.press("Tab")
        if page.ask(f"{FOCUSED} === {wanted}"):
            return count
    raise AssertionError(f"no way by Tab to {wanted}")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_used_by_keyboard_alone_and_fits(folder, chromium, width):
    page = chromium
    page.said.clear()
    page.open((folder / "report.html").as_uri(), width, mobile=width < 600)
    assert page.ask("innerWidth") == width and page.ask(OVERFLOW) == 0
    page.press("Tab")
    page.press("Enter")
    assert page.ask("location.hash") == "#main"

    cases, sorting = SECTION.format("cases"), "{}.querySelectorAll('table thead tr:last-child th')[{}]"
    header = sorting.format(cases, 1)
    tab_to(page, f"{header}.querySelector('button')")
    assert page.ask(f"getComputedStyle({FOCUSED}).outlineStyle") == "solid"
    before = page.ask(COLUMN.format(cases, 0))
    for key, order, backwards in (("Enter", "ascending", False), (" ", "descending", True)):
        page.press(key)
        values = [float(text) for text in page.ask(COLUMN.format(cases, 1))]
        assert values == sorted(values, reverse=backwards) and values[0] != values[-1]
        assert page.ask(f"{header}.getAttribute('aria-sort')") == order
        # A sign beside the colour, and the same cases.
        sign = page.ask(f"getComputedStyle({FOCUSED}, '::after').content")
        assert sign.strip('" ') == {"ascending": "\u25b2", "descending": "\u25bc"}[order]
        assert sorted(page.ask(COLUMN.format(cases, 0))) == sorted(before)

    pairs = SECTION.format("declared-comparisons")
    page.ask(f"{sorting.format(pairs, 6)}.querySelector('button').focus()")
    page.press("Enter")
    values = page.ask(COLUMN.format(pairs, 6))
    assert [float(text.replace("<", "")) for text in values] == sorted(float(text.replace("<", "")) for text in values)
    assert values[0] == "<0.001"

    fold = SECTION.format("provenance")
    page.ask(f"{fold}.previousElementSibling.querySelector('summary, a, button').focus()")
    tab_to(page, f"{fold}.querySelector('summary')")
    for key, open_ in (("Enter", True), (" ", False), (" ", True)):
        page.press(key)
        assert page.ask(f"{fold}.open") is open_
    assert page.ask(OVERFLOW) == 0 and not page.said


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_a_number_leads_by_keyboard_to_its_answer_and_a_shared_link_opens_it(folder, chromium):
    page, address = chromium, (folder / "report.html").as_uri()
    page.said.clear()
    page.open(address, 390, mobile=True)
    page.ask("document.querySelector('a[href^=\"#answer-\"]').focus()")
    wanted = page.ask(f"{FOCUSED}.getAttribute('href')")
    answer = f"document.getElementById('{wanted[1:]}')"
    assert not page.ask(f"{answer}.closest('details').open")
    page.press("Enter")
    shown = f"{answer}.closest('details').open && {answer}.getBoundingClientRect().top < innerHeight"
    assert page.ask("location.hash") == wanted
    settled(page, shown)
    page.open("about:blank", 390)
    page.open(address + wanted, 390, mobile=True)
    settled(page, shown)
    # What each link within the page names is there, in a fold or not.
    links = """Array.from(document.querySelectorAll('a[href^="#"]'), link => link.hash.slice(1))"""
    assert page.ask(f"{links}.filter(id => !document.getElementById(id))") == []
    page.ask("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert page.ask(OVERFLOW) == 0 and not page.said


def settled(page, wanted):
    for _ in range(100):
        if page.ask(wanted):
            return
        time.sleep(0.05)
    raise AssertionError(wanted)
