"""What the page of scores and tests promises: examples that the committed scores give, and every metric and test."""

import json
import re

import pandas as pd
import pytest
import study_page
from examples import EXAMPLES, MARKED, PAGE, RATES

from benchmark.base.declared import check
from benchmark.results.opening import FEW, MISSES
from benchmark.scoring.metrics import METRICS
from benchmark.stats.paired import TESTS
from benchmark.stats.seeds import TWO_LEVEL
from benchmark.studies.cluster import Cluster
from benchmark.studies.study import Study

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_shows_each_example_once() -> None:
    assert sorted(found[1] for found in MARKED.findall(TEXT)) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_committed_scores_give(name: str) -> None:
    shown = {found[2]: found[0].removeprefix(found[1]).removesuffix(found[3]) for found in MARKED.finditer(TEXT)}
    assert shown[name] == f"{EXAMPLES[name]()}\n", "run python docs/examples.py"


def test_reports_cite_how_often_intervals_were_found_to_miss() -> None:
    rates = pd.read_csv(RATES)
    rates = rates[(rates["part"] == "intervals") & (rates["design"] == "interval_mean") & (rates["test"] == "bca")]
    found = rates.groupby("n_patients")["rate"].agg(["min", "max"])
    assert {count: f"{100 * low:.0f} to {100 * high:.0f}%" for count, (low, high) in found.iterrows()} == MISSES
    assert FEW in MISSES


@pytest.mark.parametrize("name", [*METRICS, *TESTS, TWO_LEVEL])
def test_every_metric_and_test_is_described_by_hand(name: str) -> None:
    by_hand = MARKED.sub("", TEXT)
    row = re.search(rf"^\| `{name}` \|([^|]+)\|([^|]+)\|([^|]+)\|$", by_hand, flags=re.MULTILINE)
    assert row and all(len(cell.strip()) > 3 for cell in row.groups())


def test_the_page_of_a_study_is_what_its_declaration_gives_and_its_example_is_one() -> None:
    text = study_page.PAGE.read_text(encoding="utf-8")
    assert text == study_page.page(), "run python docs/study_page.py"
    example = re.search(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert example and len(check("study.md", {"name": "example", **json.loads(example[1])}, Study).runs()) == 30
    for name in Study.model_fields:
        assert name == "name" or f"`{name}`" in text


def test_the_page_of_a_cluster_has_the_entries_as_declared_and_its_example_is_one() -> None:
    text = study_page.CLUSTER_PAGE.read_text(encoding="utf-8")
    assert text == study_page.cluster_page(text), "run python docs/study_page.py"
    example = re.search(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert example and check("cluster.md", json.loads(example[1]), Cluster).of("nnunet").time == 2880
    assert all(f"`{name}`" in text for name in Cluster.model_fields)
