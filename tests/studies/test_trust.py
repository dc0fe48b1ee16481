"""Code in configs: data may hold values, references and known classes; what a bundle runs beyond that is named."""

import json

import pytest
from helpers.project import TINY, write_study

from benchmark.base.records import InputError
from benchmark.studies import bundle, study, trust

CODE = [
    {"a": "$__import__('os').getpid()"},
    {"a": "$1 + 1"},
    {"a": ["@b", {"c": "$ @b.pop()"}]},
    {"a": {"_target_": "os.system", "command": "true"}},
    {"network_def#_target_": "os.system"},
    {"network_def::_target_": "subprocess.Popen"},
    {"a": {"_target_": "$os.system"}},
    {"a": {"_target_": "torch.hub.load"}},
    {"a": {"_target_": "torch.utils.data.DataLoader"}},
    {"a": {"_target_": "benchmark.studies.execute.subprocess.Popen"}},
    {"a": {"_target_": "monai.bundle.ConfigWorkflow"}},
    {"a": {"_target_": "monai.bundle.run"}},
    {"a": {"_target_": "mine.Network"}},
    {"a": {"_target_": "monai.transforms.LoadImage", "reader": "subprocess.Popen", "args": ["true"]}},
    {"a": {"_target_": "monai.inferers.PatchInferer", "merger_cls": "reports.mine.Merger"}},
    {"a": {"_target_": "monai.data.CacheDataset"}},
    {"a": {"_target_": "monai.losses.PerceptualLoss"}},
    {"a": {"_target_": "torch.nn.ReLU", "_mode_": "debug"}},
    {"a": "%../elsewhere/train.json::network"},
]
DATA = [
    {"a": 1, "b": "relu", "c": [0.5, None, True]},
    {"a": "@max_epochs", "b": "$@train#trainer", "c": "%max_epochs"},
    {"loss": {"_target_": "torch.nn.BCEWithLogitsLoss"}, "other": {"_target_": "monai.losses.DiceLoss"}},
    {"a": {"_target_": "torch.optim.SGD"}, "b": {"_target_": "torch.optim.lr_scheduler.StepLR"}},
    {"a": {"_target_": "benchmark.training.augment.Augmentation"}, "b": {"_target_": "monai.networks.nets.UNet"}},
]


@pytest.mark.parametrize("content", CODE)
def test_code_is_refused_by_its_place(content):
    with pytest.raises(InputError, match="add --allow-code to run this code"):
        trust.check("study.json: set", content)


@pytest.mark.parametrize("content", DATA)
def test_values_references_and_known_classes_are_data(content):
    trust.check("study.json: set", content)


@pytest.mark.parametrize(
    "place",
    [
        {"set": CODE[0]},
        {"set_native": CODE[0], "models": [{"bundle": "nnunet", "track": "native"}]},
        {"models": [{"bundle": "unet", "set": CODE[0]}]},
    ],
)
def test_every_set_of_a_study_is_looked_through(project, place):
    write_study("tiny", **place)
    with pytest.raises(InputError, match=r"study\.json: set: a = \$__import__"):
        study.check_code(study.load("tiny"), {})


@pytest.mark.parametrize("key", ["optimizer#_target_", "unet:optimizer#_target_", "unet:optimizer::_target_"])
def test_the_command_line_is_looked_through(project, key):
    study.check_code(study.load("tiny"), {key: "torch.optim.SGD"})
    with pytest.raises(InputError, match=r"--set: optimizer.*_target_ = os\.system: expected a value"):
        study.check_code(study.load("tiny"), {key: "os.system"})


def test_run_all_runs_code_only_where_that_is_allowed(project, command):
    write_study("tiny", models=TINY["models"][:1])
    arguments = ("run-all", "tiny", "--set", "learning_rate=$open('made', 'w').close() or 0.001", "max_epochs=1")
    code, _, err = command(*arguments)
    assert code == 2 and "add --allow-code" in err and not (project / "made").exists()
    assert command(*arguments, "--allow-code")[0] == 0 and (project / "made").exists()


def test_code_of_a_bundle_that_git_does_not_hold_is_listed(project):
    assert bundle.code("unet") == bundle.code("la_resunet") == []
    assert "network_def#network#widths = $@topology.widths(@channels[0], max(@channels))" in bundle.code("nnunet")
    path = project / "bundles/unet/configs/model.json"
    model = json.loads(path.read_text())
    path.write_text(json.dumps({**model, "ids": {**model["ids"], "own": {"_target_": "mine.Thing"}}}))
    assert bundle.code("unet") == ["ids#own#_target_ = mine.Thing"]
    path.write_text(json.dumps({**model, "ids": {**model["ids"], "own": "%bundles/nnunet/configs/model.json::ids"}}))
    with pytest.raises(InputError, match=r"unet/configs/model\.json: expected text of the bundle's own files"):
        bundle.compose("unet")


@pytest.mark.parametrize(
    ("expression", "arithmetic"),
    [
        ("$[*@channels, @channels[0]]", True),
        ("$12 * max(1, round(@channels[0] / 12))", True),
        ("$@topology.strides", True),
        ("$@max_epochs // 6 if @amp else 2", True),
        ("$@a.__class__", False),
        ("$open('x')", False),
        ("$@a.run()", False),
        ("$os.environ", False),
        ("$lambda engine: ()", False),
        ("$[x for x in @a]", False),
        ("$1 +", False),
    ],
)
def test_arithmetic_is_told_from_code(expression, arithmetic):
    assert bool(trust.code_in({"a": expression}, arithmetic=True)) is not arithmetic
