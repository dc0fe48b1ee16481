"""Hashes of code: what a run's configs reach and nothing else, wherever it is defined."""

import json
from pathlib import Path

import pytest

import benchmark
from benchmark.studies import code

PACKAGE = Path(benchmark.__file__).parent
CONFIG = {"network": {"_target_": "benchmark.networks.net.Net"}, "loss": "$benchmark.training.losses.loss(@x)"}
FILES = {
    "networks/net.py": '''
"""A network."""
import torch
import numpy as np
from benchmark.networks.parts import Block, WIDTH as width
from benchmark.training import losses

class Net(torch.nn.Module):
    """Docstring."""

    def __init__(self, channels: int = width) -> None:
        """Another."""
        from benchmark.networks.late import scale
        self.block, self.scale = Block(channels), scale
        if channels < 0:
            raise ValueError(f"no {channels}")

    def forward(self, x):
        unused = np.zeros(3)
        y = self.block(x) * losses.FACTOR
        return y

def other():
    return 1
''',
    "networks/parts.py": """
from torch import nn
WIDTH: int = 16
SETTINGS = {"a": 1}
SETTINGS["b"] = 2

class Block(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, SETTINGS["a"])
""",
    "networks/late.py": "def scale(x):\n    return helper(x)\n\ndef helper(x):\n    return 2 * x\n",
    "networks/another.py": "class Another:\n    pass\n",
    "training/losses.py": "FACTOR = 0.5\n\ndef loss(x):\n    return x\n",
    "base/files.py": "def write(path):\n    return path\n",
    **{f"{room}/__init__.py": "" for room in ("networks", "training", "base")},
}  # fmt: skip


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """Return a function that writes a small package, with some files changed, and returns the hashes of CONFIG."""
    count = iter(range(100))

    def make(changes=None, config=CONFIG):
        folder = tmp_path / str(next(count))
        for name, text in {**FILES, **(changes or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr(benchmark, "__file__", str(folder / "__init__.py"))
        return code.hashes(config)

    return make


def changed(name, old, new):
    assert old in FILES[name]
    return {name: FILES[name].replace(old, new)}


def test_names_are_without_modules(hashed):
    assert list(hashed()) == ["Net", "loss"]
    assert code.without_modules({**CONFIG, "x": "$@a.b"}) == {
        "network": {"_target_": "Net"}, "loss": "$loss(@x)", "x": "$@a.b"
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"networks/third.py": "class Net:\n    '''Of another model.'''\n"},
        changed("networks/another.py", "pass", "width = 3"),
        changed("networks/net.py", "return 1", "return 2"),
        changed("networks/net.py", "Docstring", "Another docstring"),
        changed("networks/net.py", "class Net", "# A comment.\nclass Net"),
        changed("networks/net.py", 'f"no {channels}"', '"expected a number from 0 up"'),
        changed("networks/net.py", "channels: int = width", "channels=width"),
        changed("networks/net.py", "forward(self, x):", "forward(self, x: torch.Tensor) -> torch.Tensor:"),
        changed("networks/parts.py", "WIDTH: int = 16", "WIDTH = 16"),
        {"networks/net.py": FILES["networks/net.py"].replace("numpy as np", "numpy").replace("np.z", "numpy.z")},
        changed("networks/parts.py", "from torch import nn", "import torch.nn as nn"),
    ],
)  # fmt: skip
def test_what_a_run_does_not_use_keeps_its_hashes(hashed, changes):
    assert hashed(changes) == hashed()


PAIR = changed("networks/parts.py", "WIDTH: int = 16", "BASE = 8\nOTHER, WIDTH = 1, 2 * BASE")
EITHER = {"networks/late.py": "try:\n    from fast import scale\nexcept ImportError:\n"
          "    def scale(x):\n        return x\n"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (changed("networks/parts.py", "WIDTH: int = 16", "WIDTH: int = 32"), {"Net"}),
        (changed("networks/parts.py", '["b"] = 2', '["b"] = 3'), {"Net"}),
        (changed("networks/parts.py", "nn.Conv2d", "nn.Conv3d"), {"Net"}),
        (changed("networks/parts.py", "from torch import nn", "from other import nn"), {"Net"}),
        (changed("networks/late.py", "2 * x", "3 * x"), {"Net"}),
        (changed("networks/net.py", "np.zeros(3)", "np.zeros(4)"), {"Net"}),
        (changed("training/losses.py", "0.5", "0.6"), {"Net"}),
        (PAIR | {"networks/parts.py": PAIR["networks/parts.py"].replace("2 * BASE", "3 * BASE")}, {"Net"}),
        (EITHER | {"networks/late.py": EITHER["networks/late.py"].replace("return x", "return -x")}, {"Net"}),
        (changed("training/losses.py", "return x", "return -x"), {"loss"}),
    ],
)
def test_what_a_run_uses_changes_its_hashes(hashed, changes, names):
    before, after = hashed(), hashed(changes)
    assert {name for name in before if before[name] != after[name]} == names


def test_a_move_and_a_join_of_modules_keep_the_hashes(hashed):
    before = hashed()
    moved = {
        "networks/net.py": FILES["networks/net.py"].replace("networks.parts", "training.blocks"),
        "training/blocks.py": FILES["networks/parts.py"],
        "networks/parts.py": "",
    }
    assert hashed(moved) == before
    body = FILES["networks/net.py"].replace("from benchmark.networks.parts import Block, WIDTH as width\n", "")
    joined = {
        "networks/net.py": FILES["networks/parts.py"] + FILES["networks/late.py"] + body.replace("= width", "= WIDTH"),
        "networks/parts.py": "", "networks/late.py": "def scale():\n    return 0\n",
    }  # fmt: skip
    joined["networks/net.py"] = joined["networks/net.py"].replace(
        "        from benchmark.networks.late import scale\n", ""
    )
    assert hashed(joined) == before
    # A module that hands on what another defines.
    handed = {
        "networks/net.py": "from benchmark.networks.inner import Net\n",
        "networks/inner.py": FILES["networks/net.py"],
    }
    assert hashed(handed) == before


def test_each_name_of_a_statement_that_defines_several_is_followed(hashed):
    both = {"a": "benchmark.networks.parts.OTHER", "b": "benchmark.networks.parts.WIDTH"}
    before = hashed(PAIR, both)
    after = hashed({"networks/parts.py": PAIR["networks/parts.py"].replace("BASE = 8", "BASE = 9")}, both)
    assert all(before[name] != after[name] for name in ("OTHER", "WIDTH"))


def test_two_definitions_of_one_name_are_told_apart(hashed):
    two = {"a": "$benchmark.networks.net.Net", "b": "$benchmark.networks.third.Net"}
    third = {"networks/third.py": "class Net:\n    width = 1\n"}
    both = hashed(third, two)["Net"]
    assert both == "+".join(sorted([hashed()["Net"], hashed(third, {"b": two["b"]})["Net"]]))
    twins = {
        "networks/net.py": FILES["networks/net.py"].replace("return 1", "return helper()").replace(
            "self.block(x)", "helper(x)") + "\ndef helper(x):\n    return x\n",
    }  # fmt: skip
    swapped = {"networks/late.py": FILES["networks/late.py"].replace("2 * x", "x"),
               "networks/net.py": twins["networks/net.py"].replace("    return x\n", "    return 2 * x\n")}  # fmt: skip
    assert hashed(twins)["Net"] != hashed(swapped)["Net"] != hashed()["Net"]
    uses = {
        "networks/late.py": "from benchmark.networks.one import part as a\n"
        "from benchmark.networks.two import part as b\ndef scale(x):\n    return a(x) - b(x)\n",
        "networks/one.py": "def part(x):\n    return 1\n", "networks/two.py": "def part(x):\n    return 2\n",
    }  # fmt: skip
    turned = {**uses, "networks/late.py": uses["networks/late.py"].replace("a(x) - b(x)", "b(x) - a(x)")}
    assert hashed(uses)["Net"] != hashed(turned)["Net"]


def test_rooms_whose_results_are_in_a_fingerprint_are_not_followed(hashed):
    uses = changed("networks/late.py", "return helper(x)", "return files.write(helper(x))")
    uses["networks/late.py"] = "from benchmark.base import files\n" + uses["networks/late.py"]
    assert hashed(uses) == hashed({**uses, "base/files.py": "def write(path):\n    return [path]\n"})
    assert hashed(uses) != hashed()
    for part in code.OUTSIDE:
        path = PACKAGE / part.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), part


def test_every_name_of_ours_in_a_bundle_is_hashed():
    found = {}
    for file in PACKAGE.parent.glob("bundles/*/configs/*.json"):
        found |= code.hashes(json.loads(file.read_text(encoding="utf-8")))
    assert set(found) >= {"SliceDataset", "DataSet", "Resume", "ResUNet"}
    assert "none" not in found.values() and code.hashes("benchmark.networks.none.None") == {"None": "none"}


def test_runs_from_before_the_moves_are_known_by_name():
    assert code.at_the_moves("other", {"Net": "1"}) == "other"
    assert code.at_the_moves(code.BEFORE_THE_MOVES, {"Resume": "1", "New": "2"}) == {
        "Resume": code.MOVED["Resume"], "New": None
    }  # fmt: skip
