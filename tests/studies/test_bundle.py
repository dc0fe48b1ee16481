"""Bundles: composed as committed, different only as declared, whole by MONAI's own tools, with the papers' losses."""

import copy
import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bundles import parser
from helpers.project import CHANNELS

from benchmark.base.records import InputError, Run
from benchmark.studies import bundle

NAMES = [
    "attention_unet", "highresnet", "la_resunet", "mednext", "nnunet", "resnet50_classifier", "resunet",
    "resunet_focal_tversky", "resunet_plus", "resunet_tversky", "segresnet", "seresunet", "swin_unetr", "unet",
    "unet_dice_focal", "unetpp",
]  # fmt: skip
ONNX = [
    "attention_unet", "highresnet", "la_resunet", "nnunet", "resnet50_classifier", "resunet", "resunet_plus",
    "seresunet", "unet", "unetpp",
]  # fmt: skip
"""One bundle a network; Swin UNETR, which can be exported as well, would take longer than these together."""

# MONAI's block of MedNeXt names parameters that it has with one of its options only.
SCRIPTED = [name for name in NAMES if name != "mednext"]
TRACED = ["swin_unetr"]
"""What TorchScript cannot compile: MONAI's SwinUNETR indexes a third axis that two-dimensional images lack."""

RUN = Run("tiny", "unet", "default", 0, 7, {"max_epochs": 3, "augmentation#rotation": 5})


@pytest.fixture
def read_only(template, monkeypatch):
    """The small project itself as the working directory, for tests that only read."""
    monkeypatch.chdir(template)


def test_names(read_only):
    assert bundle.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_committed_configs_are_what_compose_makes(project, name):
    assert bundle.write(name) == []
    assert bundle.read(name) == bundle.compose(name)


def test_a_config_that_drifted_is_refused_and_composed_again(project):
    path = project / "bundles" / "unet" / "configs" / "train.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "learning_rate": 0.1}))
    with pytest.raises(InputError, match=r"unet/configs/train\.json is not what the protocol and .* compose unet"):
        bundle.read("unet")
    assert bundle.write("unet") == [path]
    assert json.loads(path.read_text()) == config


def test_a_bundle_from_before_several_processes_is_read_as_it_is(project):
    path = project / "bundles" / "unet" / "configs" / "multi_gpu_train.json"
    path.unlink()
    assert "multi_gpu_train" in bundle.read("unet")
    path.write_text("{}")
    with pytest.raises(InputError, match=r"multi_gpu_train\.json is not what the protocol"):
        bundle.read("unet")
    (project / "bundles" / "protocol" / "multi_gpu_train.json").unlink()
    assert "multi_gpu_train" not in bundle.read("unet")


@pytest.mark.parametrize("name", NAMES)
def test_several_processes_change_ids_that_a_training_has(read_only, name):
    composed = bundle.compose(name)
    for key in set(composed["multi_gpu_train"]) - {"finalize"}:
        *parents, last = key.split("#")
        place = composed["train"]
        for parent in parents:
            place = place[parent]
        # MONAI's DataLoader takes any sampler, ours or none.
        assert last in place or key == "validate#dataloader#sampler"


def by_id(config):
    """A config with the two groups of ids, ``train`` and ``validate``, taken apart."""
    groups = [key for key in ("train", "validate") if key in config]
    inner = {f"{group}#{key}": value for group in groups for key, value in config[group].items()}
    return {**{key: value for key, value in config.items() if key not in groups}, **inner}


@pytest.mark.parametrize("name", NAMES)
def test_two_bundles_differ_only_in_what_their_model_json_declares(read_only, name):
    composed = {other: bundle.compose(other) for other in NAMES}
    models = {other: json.loads(Path(f"bundles/{other}/configs/model.json").read_text()) for other in NAMES}
    assert set(models[name]) - {"native", "dimensions"} == {"metadata", "ids", "network_def", "loss", "deviations"}
    for other, kind in itertools.product(NAMES, bundle.CONFIGS):
        pair = [models[name], models[other]]
        found = bundle.differences({key: composed[key][kind] for key in (name, other)})
        configs = {key: by_id(composed[key][kind]) for key in (name, other)}
        deviations = {"#".join(key.split("#")[:n]) for model in pair for key in model["deviations"] for n in (1, 2)}
        assert set(found) <= {"network_def", "loss", *pair[0]["ids"], *pair[1]["ids"]} | deviations
        assert ("network_def" in found) == (pair[0]["network_def"] != pair[1]["network_def"])
        assert ("loss" in found) == (kind == "train" and pair[0]["loss"] != pair[1]["loss"])
        for key, values in found.items():
            assert values == {model: config.get(key) for model, config in configs.items()}
        # And what is not listed is equal, so nothing else can differ.
        same = set(configs[name]) - set(found) - {"bundle_root"}
        assert all(configs[name][key] == configs[other][key] for key in same)


@pytest.mark.parametrize("name", ["resunet_focal_tversky", "resunet_tversky"])
def test_one_network_serves_every_resunet(read_only, name):
    assert bundle.compose(name)["train"]["network_def"] == bundle.compose("resunet")["train"]["network_def"]


@pytest.mark.parametrize("kind", bundle.CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_native_recipe_is_a_second_file_for_monai(read_only, name, kind):
    """As `--config_file "[train.json, native.json]"` reads them: known ids only, and every part can be made."""
    from monai.bundle import ConfigParser

    made, files = ConfigParser(), [f"bundles/{name}/configs/{kind}.json", f"bundles/{name}/configs/native.json"]
    native = bundle.compose(name).get("native", {})
    assert native == (json.loads(Path(files[1]).read_text()) if Path(files[1]).exists() else {})
    made.read_config(files if native else files[:1])
    made.update({"channels": CHANNELS})
    if kind == "train":
        assert set(native) <= set(bundle.compose(name)["train"])
        optimizer, scheduler = made.get_parsed_content("optimizer"), made.get_parsed_content("lr_scheduler")
        stated = native.get("learning_rate", 0.0001)
        assert optimizer.defaults["lr"] == stated and scheduler.optimizer is optimizer
        assert callable(made.get_parsed_content("schedule_by"))
        assert isinstance(made.get_parsed_content("batch_size"), int)
    assert callable(made.get_parsed_content("inferer"))


def test_differences_of_three_are_those_of_any_two():
    configs = {"a": {"x": 1, "y": [1], "bundle_root": "a"}, "b": {"x": 1, "y": [1]}, "c": {"x": 1, "y": [2], "z": None}}
    assert bundle.differences(configs) == {"y": {"a": [1], "b": [1], "c": [2]}}
    assert bundle.differences({"a": configs["a"], "b": configs["b"]}) == {}
    assert bundle.differences({"one": {"amp": True}, "other": {"amp": 1}}) == {"amp": {"one": True, "other": 1}}


def test_a_deviation_is_applied_and_shown(project):
    path = Path("bundles/unet/configs/model.json")
    model = json.loads(path.read_text())
    path.write_text(json.dumps({**model, "deviations": {"weight_decay": 0.0, "augmentation#flip": 0.0}}))
    found = bundle.differences({name: bundle.compose(name)["train"] for name in ("unet", "la_resunet")})
    assert found["weight_decay"] == {"unet": 0.0, "la_resunet": 1e-5}
    assert {name: value["flip"] for name, value in found["augmentation"].items()} == {"unet": 0.0, "la_resunet": 0.5}
    path.write_text(json.dumps({**model, "deviations": {"weigth_decay": 0.0}}))
    with pytest.raises(InputError, match="no id 'weigth_decay'"):
        bundle.compose("unet")


def test_an_unknown_bundle_is_refused(project):
    for call in (bundle.compose, bundle.read, bundle.write):
        with pytest.raises(
            InputError, match="no bundle 'unet2': expected one of attention_unet, highresnet, la_resunet"
        ):
            call("unet2")


def test_overrides_reach_every_config_that_has_the_id(project):
    configs = bundle.compose("unet")
    bundle.override(configs, "spatial_size", [32, 32])
    assert configs["train"]["spatial_size"] == configs["inference"]["spatial_size"] == [32, 32]
    bundle.override(configs, "max_epochs", 3)
    assert configs["train"]["max_epochs"] == 3 and "max_epochs" not in configs["inference"]


@pytest.mark.parametrize("key", ["train#inferer#_target_", "train::inferer::_target_", "train#inferer::_target_"])
def test_an_override_goes_below_an_id(project, key):
    configs = bundle.compose("unet")
    bundle.override(configs, key, "monai.inferers.Other")
    assert configs["train"]["train"]["inferer"]["_target_"] == "monai.inferers.Other"


@pytest.mark.parametrize(
    "key", ["epocs", "augmentation#rotatoin", "augmentation#rotation#degrees", "nothing#rotation", "spatial_size#0", ""]
)
def test_a_mistyped_id_is_refused_and_changes_nothing(project, key):
    configs = bundle.compose("unet")
    before = copy.deepcopy(configs)
    with pytest.raises(InputError, match=r"There is no id .*: expected one of .*max_epochs"):
        bundle.override(configs, key, 9)
    assert configs == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", "five"),
        ("max_epochs", 1.5),
        ("max_epochs", True),
        ("max_epochs", None),
        ("learning_rate", "fast"),
        ("learning_rate", [0.1]),
        ("deterministic", 1),
        ("manifest", 5),
        ("spatial_size", 240),
        ("augmentation", 0),
    ],
)
def test_an_override_of_another_type_is_refused(project, key, value):
    configs = bundle.compose("unet")
    before = copy.deepcopy(configs)
    with pytest.raises(InputError, match=f"Id '{key}' cannot be .*: expected something like "):
        bundle.override(configs, key, value)
    assert configs == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 1),
        ("max_epochs", 7),
        ("max_epochs", "@plateau_patience"),
        ("device", "cpu"),
        ("num_workers", 2),
    ],
)
def test_an_override_of_the_same_kind_or_an_expression_is_taken(project, key, value):
    configs = bundle.compose("unet")
    bundle.override(configs, key, value)
    assert configs["train"][key] == value


def test_a_frozen_config_is_the_runs(project):
    configs = bundle.frozen(RUN, "brats2018")
    for config in (configs["train"], configs["inference"]):
        assert config["bundle_root"] == "runs/tiny/unet/default/fold0-seed7"
        assert (config["manifest"], config["fold"], config["cpu_threads"]) == ("brats2018", 0, 1)
    train = configs["train"]
    assert (train["seed"], train["max_epochs"], train["augmentation"]["rotation"]) == (7, 3, 5)
    assert train["augmentation"]["flip"] == 0.5
    assert bundle.compose("unet")["train"]["max_epochs"] == 100


def test_a_frozen_folder_is_a_bundle_of_its_own(project, tmp_path):
    configs = bundle.frozen(RUN, "phantom")
    bundle.freeze(configs, tmp_path / "run")
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == {
        "configs/train.json", "configs/inference.json", "configs/metadata.json", "configs/logging.conf", "LICENSE",
    }  # fmt: skip
    assert {kind: json.loads((tmp_path / f"run/configs/{kind}.json").read_text()) for kind in configs} == configs


@pytest.fixture
def offline(monkeypatch):
    """Fail where MONAI would download."""

    def download(url, *_, **__):
        raise AssertionError(f"download of {url}")

    monkeypatch.setattr("monai.apps.utils._download_with_progress", download)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_verified_without_a_network(read_only, offline, name):
    from monai.bundle import verify_metadata

    schema = Path("bundles/protocol/metadata.schema.json")
    before = schema.read_bytes()
    verify_metadata(f"bundles/{name}/configs/metadata.json", filepath=schema)
    assert schema.read_bytes() == before
    metadata = json.loads(Path(f"bundles/{name}/configs/metadata.json").read_text())
    assert set(metadata) <= set(json.loads(before)["properties"])
    formats = metadata["network_data_format"]
    for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
        assert list(tensor["channel_def"]) == [str(index) for index in range(tensor["num_channels"])]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(([key], None) for key in ("version", "monai_version", "pytorch_version", "numpy_version", "task", "authors")),
        *(([key], None) for key in ("required_packages_version", "description", "copyright", "network_data_format")),
        *(
            (["network_data_format", "inputs", "image", key], None)
            for key in ("type", "modality", "channel_def", "dtype")
        ),
        (["network_data_format", "outputs", "pred"], None),
        (["network_data_format", "outputs", "pred", "num_channels"], "3"),
        (["network_data_format", "inputs", "image", "value_range"], [0]),
        (["description"], ""),
        (["monai_version"], "latest"),
    ],
)
def test_metadata_that_lacks_something_is_refused(project, offline, place, value):
    from monai.bundle import verify_metadata

    path = Path("bundles/unet/configs/metadata.json")
    metadata = json.loads(path.read_text())
    *parents, last = place
    inner = metadata
    for parent in parents:
        inner = inner[parent]
    inner.pop(last) if value is None else inner.update({last: value})
    path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(path, filepath=Path("bundles/protocol/metadata.schema.json"))


@pytest.mark.parametrize("kind", bundle.CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_and_gives_what_metadata_says(read_only, name, kind):
    from monai.bundle import verify_net_in_out

    configs = f"bundles/{name}/configs"
    verify_net_in_out(
        "network_def", meta_file=f"{configs}/metadata.json", config_file=f"{configs}/{kind}.json", device="cpu", n=2
    )


@pytest.mark.parametrize("name", NAMES)
def test_training_and_inference_have_the_same_network(read_only, name):
    train, inference = (bundle.compose(name)[kind] for kind in bundle.CONFIGS)
    ids = json.loads(Path(f"bundles/{name}/configs/model.json").read_text())["ids"]
    for key in ("network_def", "spatial_size", "spatial_dims", "amp", "amp_dtype", "in_channels", "out_channels", *ids):
        assert train[key] == inference[key]


@pytest.fixture
def trained(tmp_path):
    """Return a function that writes a bundle's small network to a checkpoint: the network, file and arguments."""

    def make(name):
        torch.manual_seed(0)
        network = parser(name).get_parsed_content("network_def")
        for module in network.modules():  # statistics that are not those of a fresh network
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2)
        torch.save(network.state_dict(), tmp_path / "model.pt")
        arguments = {
            "net_id": "network_def",
            "ckpt_file": str(tmp_path / "model.pt"),
            "config_file": f"bundles/{name}/configs/inference.json",
            "meta_file": f"bundles/{name}/configs/metadata.json",
            "channels": CHANNELS,
            "spatial_size": [32, 32],
        }
        return network.eval(), arguments

    return make


@pytest.mark.parametrize("name", SCRIPTED)
def test_torchscript_export_gives_the_same_numbers(read_only, trained, tmp_path, name):
    from monai.bundle import ckpt_export

    network, arguments = trained(name)
    options = {"use_trace": True, "input_shape": [1, 4, 48, 48]} if name in TRACED else {}
    ckpt_export(filepath=str(tmp_path / "model.ts"), **options, **arguments)
    exported = torch.jit.load(str(tmp_path / "model.ts")).eval()
    with torch.no_grad():
        for size in ((48, 48), (64, 40)):  # a trace holds for what is padded to one size, here 64x64
            x = torch.rand(2, 4, *size)
            torch.testing.assert_close(exported(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ONNX)
def test_onnx_export_gives_the_same_numbers(read_only, trained, tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from monai.bundle import onnx_export

    network, arguments = trained(name)
    onnx_export(filepath=str(tmp_path / "model.onnx"), input_shape=[1, 4, 32, 32], **arguments)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    x = torch.rand(1, 4, 32, 32)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, network(x).detach().numpy(), atol=1e-4)


def test_a_warm_up_and_cosine_rate_is_stepped_without_a_loss_and_resumes(read_only):
    """Swin UNETR's own schedule: from a tenth to the whole rate in a sixth of the epochs, then down to nothing."""
    native = bundle.compose("swin_unetr").get("native", {})
    made = parser(
        "swin_unetr",
        **{
            **native,
            "max_epochs": 12,
            "network_def": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1},
        },
    )
    made["network"] = "@network_def"
    scheduler = made.get_parsed_content("lr_scheduler")
    rates = []
    for _ in range(12):
        rates.append(scheduler.get_last_lr()[0] / 1e-4)
        scheduler.optimizer.step()
        scheduler.step(*made.get_parsed_content("schedule_by")(None))
        state = scheduler.state_dict()
        scheduler.load_state_dict(state)
    assert rates[:3] == pytest.approx([0.1, 0.55, 1.0])
    assert rates[3:] == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(1, 10)])
    assert made.get_parsed_content("stop_patience") == 12


def test_dice_focal_is_the_papers_sum(project):
    """Mandekar et al.: 0.6 Dice with squared terms in the denominator + 0.4 focal with gamma 2, on sigmoids."""
    torch.manual_seed(0)
    logits, truth = torch.randn(3, 2, 6, 5, dtype=torch.float64), (torch.rand(3, 2, 6, 5) > 0.7).double()
    p = torch.sigmoid(logits)
    over = (0, 2, 3)
    overlap, squares = (p * truth).sum(over), (p**2).sum(over) + (truth**2).sum(over)
    dice = (1 - (2 * overlap + 1e-5) / (squares + 1e-5)).mean()
    pt = torch.where(truth == 1, p, 1 - p)
    focal = (-((1 - pt) ** 2) * torch.log(pt)).mean()
    loss = parser("la_resunet").get_parsed_content("loss")
    assert float(loss(logits, truth)) == pytest.approx(float(0.6 * dice + 0.4 * focal), abs=1e-6)


def test_tversky_weighs_a_miss_more_than_a_false_alarm(project):
    """Salehi et al.: TP / (TP + 0.3 FP + 0.7 FN), here with 2 hits, 1 false alarm and 3 misses."""
    truth = torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0]).view(1, 1, 2, 4)
    logits = torch.tensor([9.0, 9, -9, -9, -9, 9, -9, -9]).mul(10).view(1, 1, 2, 4)
    loss = parser("resunet_tversky").get_parsed_content("loss")
    assert float(loss(logits, truth)) == pytest.approx(1 - 2 / (2 + 0.3 * 1 + 0.7 * 3), abs=1e-5)
    # Over a batch the counts are added up before they are divided: an empty slice is not a perfect one.
    empty = torch.full_like(logits, -90.0)
    pooled = loss(torch.cat([logits, empty]), torch.cat([truth, torch.zeros_like(truth)]))
    assert float(pooled) == pytest.approx(1 - 2 / (2 + 0.3 * 1 + 0.7 * 3), abs=1e-5)


def test_the_unets_loss_is_binary_cross_entropy(project):
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) > 0.5).float()
    p = torch.sigmoid(logits)
    expected = -(truth * torch.log(p) + (1 - truth) * torch.log(1 - p)).mean()
    assert float(parser("unet").get_parsed_content("loss")(logits, truth)) == pytest.approx(float(expected), abs=1e-6)


LED_AROUND = (
    "data#split", "data::split", "data#name", "train", "train#dataset#cases", "train#resume", "train#resume#folder",
    "train#resume#settings#split", "train#trainer#train_data_loader", "train#handlers", "train#prepare_batch#regions",
    "validate#dataset#cases", "validate#evaluator", "handlers", "dataset#cases", "in_channels",
)  # fmt: skip
"""Ids whose values say which data, split and places a run has, by other names."""


@pytest.mark.parametrize("key", [*(key for key in bundle.FIXED_IDS if key != "split"), *LED_AROUND])
def test_what_a_study_decides_for_a_run_cannot_be_set(project, key):
    with pytest.raises(InputError, match=f"Id '{key}' cannot be set"):
        bundle.frozen(dataclasses.replace(RUN, overrides={key: 1}), "brats2018")


def test_folds_of_one_seed_are_trainings_of_their_own(read_only):
    """Every fold and seed starts elsewhere, as the test over patients and seeds assumes; every model alike."""
    starts = {}
    for name, fold, seed in itertools.product(NAMES, (0, 1), (1, 2)):
        config = parser(name)
        config.update({"fold": fold, "seed": seed})
        starts.setdefault((fold, seed), set()).add(config.get_parsed_content("run_seed"))
        assert config["initialize"][-1]["_target_"].endswith(".set_up")
        assert (
            config["initialize"][-1]["seed"]
            == config["sampler"]["seed"]
            == config["train"]["handlers"][0]["seed"]
            == "@run_seed"
        )
    assert all(len(found) == 1 for found in starts.values())
    assert len(set.union(*starts.values())) == 4


def test_a_native_recipe_is_a_file_of_its_own_and_only_known_ids(project):
    path = project / "bundles/unet/configs/model.json"
    model = json.loads(path.read_text())
    native = {"learning_rate": 0.01, "schedule_by": "$lambda engine: ()"}
    path.write_text(json.dumps({**model, "native": native}))
    folder = project / "bundles/unet/configs"
    assert bundle.write("unet") == [folder / "native.json"]
    assert json.loads((folder / "native.json").read_text()) == native == bundle.compose("unet").get("native", {})
    assert bundle.read("unet")["train"]["learning_rate"] == 0.0001
    for wrong, message in [("learning_rat", "no id 'learning_rat'"), ("augmentation#flip", "top level")]:
        path.write_text(json.dumps({**model, "native": {wrong: 0.5}}))
        with pytest.raises(InputError, match=message):
            bundle.compose("unet")


def test_a_native_recipe_cannot_set_the_split_that_reports_go_by(project):
    path = project / "bundles/unet/configs/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "native": {"split": "slice"}}))
    with pytest.raises(InputError, match=r"Id 'split' cannot be set, .*give `split` as a field of the study"):
        bundle.compose("unet")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("batch_size", 0, "batch_size: expected a number greater than or equal to 1, found 0"),
        ("max_epochs", 0, "max_epochs: expected a number greater than or equal to 1"),
        ("learning_rate", -1, "learning_rate: expected a number greater than 0, found -1"),
        ("learning_rate", 0.0, "learning_rate: expected a number greater than 0, found 0"),
        ("learning_rate", float("nan"), "learning_rate: expected a finite number"),
        ("weight_decay", float("inf"), "weight_decay: expected a finite number"),
        ("epoch_images", -1, "epoch_images: expected a number greater than or equal to 0"),
        ("plateau_factor", 1.0, "plateau_factor: expected a number less than 1"),
        ("spatial_size", [32, 32, 32], "spatial_size: expected 2 numbers, one per dimension, found"),
        ("spatial_size", [32, 0], "spatial_size/1: expected a number greater than or equal to 1"),
        ("channels", [], "channels: expected at least 1 item"),
        ("channels", [4, -8], "channels/1: expected a number greater than or equal to 1"),
        ("augmentation#flip", 2.0, "augmentation/flip: expected a number less than or equal to 1, found 2"),
        ("augmentation#probability", -0.5, "augmentation/probability: expected a number greater than or equal to 0"),
    ],
)
def test_a_value_that_none_can_have_is_refused_before_anything_trains(read_only, key, value, sentence):
    with pytest.raises(InputError, match=f"Run unet/default/fold0-seed7: {sentence}"):
        bundle.frozen(dataclasses.replace(RUN, overrides={key: value}), "phantom")


def test_a_models_file_holds_what_is_read_and_no_id_of_the_protocol(project):
    path = project / "bundles/unet/configs/model.json"
    model = json.loads(path.read_text())
    for change, sentence in [
        ({"optimiser": {}}, r"model\.json: optimiser: expected no such entry"),
        ({"loss": None}, r"model\.json: loss: expected an object, found null"),
        ({"ids": {**model["ids"], "max_epochs": 1}}, r"model\.json: ids: expected new ones, found 'max_epochs' of the"),
        ({"deviations": {"data#split": "slice"}}, r"model\.json: deviations: id 'data#split' cannot be set"),
        ({"native": {"dataset": {}}}, "Id 'dataset' cannot be set"),
    ]:
        path.write_text(json.dumps({**model, **change}))
        with pytest.raises(InputError, match=sentence):
            bundle.compose("unet")
    for content in ("[]", "{}", "null"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"model\.json: expected"):
            bundle.compose("unet")
