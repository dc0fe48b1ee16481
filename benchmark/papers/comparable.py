"""Say which facts forbid a verdict on a printed number: how the paper made it, beside what our runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.papers.published import Facts

STATED = {"cases": "the number of cases", "size": "the pictures' size", "split": "the split"}
"""Facts that a number depends on, in words; one that a paper does not state is a condition of any verdict."""

RECIPE = {
    "identical": "the shared recipe",
    "tuned": "the shared recipe with a value chosen for each model",
    "native": "a recipe of its own",
}


class Made(NamedTuple):
    """How a model's numbers were made, as its runs recorded it.

    ``data`` is the set, of which ``cases`` of ``published`` (None: not known) are there; ``size`` the canvas in pixels,
    empty where the recipe plans it; ``weights`` what training began from: "ImageNet" where a run's record shows that
    its file is the published one, "another file", or empty for a random start; ``track`` the recipe, in which
    ``changed`` ids were set otherwise for the study; ``learning`` counts the trainings that ended before their plateau,
    of ``trainings`` with a history, and ``missing`` the declared runs without scores, of ``runs``. ``assumed`` is what
    the study declares that the paper does not say.
    """

    data: str
    cases: int
    published: int | None
    size: tuple[int, ...]
    split: str
    weights: str
    track: str
    changed: tuple[str, ...] = ()
    learning: int = 0
    trainings: int = 1
    missing: int = 0
    runs: int = 1
    assumed: tuple[str, ...] = ()


def forbidding(facts: Facts | None, made: Made | None) -> list[str]:
    """Facts that forbid a verdict, each in a few words: where the runs do not have what the paper states.

    Besides, every verdict needs a data set with a name, and all runs, each trained to its plateau.
    """
    if facts is None:
        return ["published.json does not hold how the paper's numbers were made"]
    if made is None:
        return ["no run recorded how ours were made"]
    found = _of_data(facts, made)
    if (wanted := facts.get("weights")) and made.weights != wanted:
        other = f"weights to start from that no record shows to be torchvision's of {wanted}"
        found.append(other if made.weights else f"no weights of {wanted} to start from")
    if made.track != facts["track"]:
        found.append(f"trained by {RECIPE[made.track]}, the paper's by {RECIPE[facts['track']]}")
    if made.changed:
        found.append(f"the recipe changed in {', '.join(made.changed)}")
    if made.missing:
        found.append(f"{made.missing} of {made.runs} runs without scores")
    if made.learning or not made.trainings:
        still = (
            "no training reached"
            if made.learning == made.trainings
            else f"{made.learning} of {made.trainings} trainings did not reach"
        )
        found.append(f"{still} its plateau" if made.trainings else "no history shows a plateau")
    return found


def _of_data(facts: Facts, made: Made) -> list[str]:
    found = []
    if "data" not in facts:
        found.append("the paper does not name its data set")
    elif made.data not in facts["data"]:
        found.append(f"data {made.data}, the paper's {' or '.join(facts['data'])}")
    elif (needed := facts.get("cases", made.published)) is None or made.cases < needed:
        found.append(f"{made.cases} of {needed or 'nobody says how many'} cases")
    if "size" in facts and made.size and list(made.size) != facts["size"]:
        found.append(f"pictures of {_by(made.size)}, the paper's {_by(facts['size'])}")
    if "split" in facts and made.split != facts["split"]:
        found.append(f"split {_split(made.split)}, the paper's {_split(facts['split'])}")
    return found


def conditions(facts: Facts | None, made: Made | None) -> list[str]:
    """What a verdict takes for granted, as the paper does not state it, each in a few words with what ours is."""
    if facts is None or made is None:
        return []
    ours = {"cases": str(made.cases), "size": _by(made.size), "split": _split(made.split)}
    found = [f"{words} ({ours[name] or 'planned'} here)" for name, words in STATED.items() if name not in facts]
    return [*found, *made.assumed]


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _split(split: str) -> str:
    return "as published" if split == "published" else f"by {split}"
