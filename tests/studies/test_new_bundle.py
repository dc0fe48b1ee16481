"""A network's import path to a bundle that trains in a study, without a line of Python; refusals in one sentence."""

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.project import TINY, write_study

from benchmark.studies import bundle

SEGRESNET = "monai.networks.nets.SegResNet"


def test_a_network_of_monai_becomes_a_row_of_the_comparison(finished, command, here, undrawn):
    """One command, one line in a study, `run-all`; the models that were there are not run again."""
    code, out, err = command("new", "own_net", "--network", SEGRESNET)
    assert (code, err) == (0, "")
    assert 'list {"bundle": "own_net"}' in out
    files = {"model.json", "train.json", "multi_gpu_train.json", "inference.json", "metadata.json", "logging.conf"}
    assert {path.name for path in Path("bundles/own_net/configs").iterdir()} == files
    names = [model["bundle"] for model in TINY["models"]]
    write_study("tiny", models=[*TINY["models"], {"bundle": "own_net"}])
    assert command("run-all", "tiny", "--jobs", "1")[0] == 0
    comparisons = pd.read_csv("reports/tiny/comparisons.csv", keep_default_na=False)
    assert set(comparisons[["model_a", "model_b"]].to_numpy().ravel()) == {*names, "own_net"}
    assert "| own_net |" in Path("reports/tiny/report.md").read_text(encoding="utf-8")


def test_the_bundle_is_the_protocols_with_this_network_only(project, command):
    assert command("new", "mine", "--network", SEGRESNET, "--set", "init_filters=16", "norm=BATCH")[0] == 0
    model = json.loads(Path("bundles/mine/configs/model.json").read_text())
    assert model["network_def"] == {
        "_target_": SEGRESNET, "spatial_dims": "@spatial_dims", "in_channels": "@in_channels",
        "out_channels": "@out_channels", "init_filters": 16, "norm": "BATCH",
    }  # fmt: skip
    found = bundle.differences({name: bundle.compose(name)["train"] for name in ("mine", "unet")})
    assert set(found) == {"network_def"}
    readme = Path("bundles/mine/docs/README.md").read_text()
    assert SEGRESNET in readme and "binary cross-entropy" in readme and "does not refer to it" in readme


def test_needed_widths_and_image_sizes_are_filled(project, command):
    unet = ("--network", "monai.networks.nets.UNet", "--set", "strides=[2, 2, 2, 2]")
    assert command("new", "plain", *unet)[0] == 0
    assert json.loads(Path("bundles/plain/configs/model.json").read_text())["network_def"]["channels"] == "@channels"
    assert "does not refer to it" not in Path("bundles/plain/docs/README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["own_net", "--network", "monai.networks.nets.SegResNett"], "'monai.networks.nets.SegResNett' is no class"),
        (["own_net", "--network", "monai.networks.nets"], "found module"),
        (["own_net", "--network", "nowhere.Net", "--allow-code"], "'nowhere.Net' is no class that can be imported"),
        (["own_net", "--network", "nowhere.Net"], "_target_ = nowhere.Net: expected a value, a reference"),
        (["net", "--network", "monai.networks.nets.UNet"], "needs 'strides', which is not known here: expected --set"),
        (["net", "--network", SEGRESNET, "--set", "filters=8"], "SegResNet has no argument 'filters': expected one of"),
        (["net", "--network", SEGRESNET, "--set", "init_filters=7"], "SegResNet fails on images of shape (2, 4, 240,"),
        (["net", "--network", f"{SEGRESNET}DS", "--set", "dsdepth=2"], "SegResNetDS gives list for images"),
        (["net", "--network", "torch.nn.Identity"], "Identity gives (2, 4, 240, 240) for images"),
        (["unet", "--network", SEGRESNET], "Bundle 'unet': expected a name that no folder of bundles/ has"),
        (["protocol", "--network", SEGRESNET], "Bundle 'protocol': expected a name that no folder"),
        (["../unet2", "--network", SEGRESNET], "Bundle '../unet2': expected a name of small letters"),
    ],
)
def test_what_cannot_be_a_bundle_is_refused_and_leaves_nothing(project, command, arguments, sentence):
    before = sorted(Path("bundles").rglob("*"))
    code, out, err = command("new", *arguments)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[-1].startswith("Error: ") and sentence in lines[-1]
    assert sorted(Path("bundles").rglob("*")) == before
