"""The slice classifier: torchvision's weights, frozen or not, its tables and scores, and as a gate of a segmenter."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.bundles import parser
from helpers.project import CHANNELS, TINY, write_study
from helpers.scans import AFFINES, brain, save_case

from benchmark.base.records import InputError
from benchmark.data.prepare import DataSet, prepare
from benchmark.data.scan import scan
from benchmark.networks.classifier import ResNet50Classifier
from benchmark.scoring import detection
from benchmark.scoring.score_table import read_tidy
from benchmark.studies import execute, store, study
from benchmark.studies import run as running
from benchmark.training.augment import Augmentation
from benchmark.training.classify import InParts, PrepareSlices, SliceTableWriter

REGIONS = {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}
MODELS = [
    {"bundle": "resnet50_classifier"},
    {"bundle": "unet"},
    {"bundle": "unet", "variant": "two_stage", "stages": ["resnet50_classifier", "unet"]},
]


def torchvision_shapes():
    """Names and shapes of torchvision's resnet50, written down from its published definition."""
    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048), "fc.bias": (1000,)}
    norms = {"bn1": 64}
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, inputs, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            norms |= {f"{name}.bn1": width, f"{name}.bn2": width, f"{name}.bn3": 4 * width}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                norms[f"{name}.downsample.1"] = 4 * width
            inputs = 4 * width
    for name, width in norms.items():
        shapes |= {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A file as torchvision publishes it, with random numbers; without the counts of batches, as the first one was."""
    torch.manual_seed(0)
    state = {
        name: torch.rand(shape).mul(0.1) if "running" in name else torch.randn(shape).mul(0.05)
        for name, shape in torchvision_shapes().items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(state, path)
    return path, state


def test_the_backbone_is_torchvisions_resnet50():
    """53 convolutions and the published 25,557,032 parameters, 23,508,032 of them before the last layer."""
    shapes = torchvision_shapes()
    counted = {name: shape for name, shape in shapes.items() if "running" not in name and "num_batches" not in name}
    assert sum(int(np.prod(shape)) for shape in counted.values()) == 25_557_032
    network = ResNet50Classifier(3)
    own = {name: tuple(value.shape) for name, value in network.backbone.state_dict().items()}
    assert own == {name: shape for name, shape in shapes.items() if not name.startswith("fc.")}
    assert sum(len(shape) == 4 for shape in own.values()) == 53
    assert sum(value.numel() for value in network.backbone.parameters()) == 23_508_032
    strides = {n: m.stride for n, m in network.backbone.named_modules() if isinstance(m, torch.nn.Conv2d)}
    # torchvision strides the 3x3 convolution of a stage's first block, and its shortcut, from the second stage on.
    two = {"conv1", *(f"layer{i}.0.{part}" for i in (2, 3, 4) for part in ("conv2", "downsample.0"))}
    assert {name for name, stride in strides.items() if stride == (2, 2)} == two


def test_weights_are_loaded_frozen_and_only_the_head_learns(imagenet, caplog):
    path, state = imagenet
    with caplog.at_level("INFO"):
        network = ResNet50Classifier(3, weights=str(path)).train()
    assert "is frozen" in caplog.text and str(path) in caplog.text
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in state.items() if not name.startswith("fc."))
    head = network.head[0].weight.clone()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    torch.nn.functional.cross_entropy(network(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    assert not torch.equal(network.head[0].weight, head)


def test_without_weights_everything_learns_and_the_log_says_so(caplog):
    network = ResNet50Classifier(4, CHANNELS).train()
    assert "starts at random and is trained" in caplog.text
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(network(torch.randn(2, 4, 64, 64)), torch.tensor([0, 1])).backward()
    optimizer.step()
    after = network.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == set()


def test_other_numbers_of_modalities_answer_grey_as_colour(imagenet):
    """The same picture in all four channels gives what it gave in all three; 80x96 need not be divisible by 32."""
    path, _ = imagenet
    grey = torch.randn(2, 1, 80, 96)
    three, four = (ResNet50Classifier(n, weights=str(path)).eval().backbone for n in (3, 4))
    with torch.no_grad():
        expected, found = three(grey.expand(-1, 3, -1, -1)), four(grey.expand(-1, 4, -1, -1))
    assert expected.shape == (2, 2048) and expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda state: state.pop("layer4.2.conv3.weight"), r"1 keys amiss \(layer4\.2\.conv3\.weight\)"),
        (lambda state: state.update({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}), "1 keys amiss"),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), r"1 keys amiss \(conv1\.weight\)"),
        (lambda state: state.update(epoch=3), r"1 keys amiss \(epoch\)"),
    ],
)
def test_other_weights_are_refused_in_one_sentence(imagenet, tmp_path, change, found):
    state = dict(imagenet[1])
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"other\.pth .*expected torchvision's state dict of resnet50, .*{found}"):
        ResNet50Classifier(4, weights=str(tmp_path / "other.pth"))


def test_what_is_no_weights_file_is_refused(imagenet, tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    for name, found in (("text", "UnpicklingError"), ("list", "found list"), ("none", "No such file")):
        with pytest.raises(InputError, match=rf"{name}\.pth .*expected torchvision's .*{found}"):
            ResNet50Classifier(4, weights=str(tmp_path / f"{name}.pth"))
    with pytest.raises(InputError, match=r"channels are \[4, 8, 16, 32, 64\]: expected \[64, 128, 256, 512\]"):
        ResNet50Classifier(4, CHANNELS, weights=str(imagenet[0]))
    with pytest.raises(InputError, match=r"channels are \[4, 8\]: expected those of four stages"):
        ResNet50Classifier(4, [4, 8])


def test_the_class_is_that_of_the_augmented_slice():
    """A single tumour voxel in a corner: still there unmoved or flipped, gone where a rotation turns it out."""
    label = torch.zeros(2, 16, 16, dtype=torch.uint8)
    label[0, 0, 0] = 2
    batch = {"image": torch.zeros(2, 4, 16, 16), "label": label, "random": torch.ones(2, 56)}
    prepare_batch = PrepareSlices(REGIONS, [16, 16], Augmentation())
    image, classes = prepare_batch(batch, torch.device("cpu"))
    assert image.shape == (2, 4, 16, 16) and classes.dtype == torch.long
    assert classes.tolist() == [1, 0]
    turned = torch.ones(2, 56)
    turned[:, 1], turned[:, 4] = 0, 1  # rotate, by the largest angle
    assert prepare_batch({**batch, "random": turned}, torch.device("cpu"))[1].tolist() == [0, 0]


def test_a_label_of_no_region_is_no_tumour():
    label = torch.zeros(2, 8, 8, dtype=torch.uint8)
    label[0, 3, 3], label[1, 3, 3] = 3, 4
    batch = {"image": torch.zeros(2, 4, 8, 8), "label": label}
    assert PrepareSlices(REGIONS, [8, 8])(batch, torch.device("cpu"))[1].tolist() == [0, 1]


def test_a_volume_becomes_a_batch_of_centred_slices():
    image, label = torch.rand(1, 4, 5, 6, 12), torch.zeros(1, 5, 6, 12, dtype=torch.uint8)
    label[0, 3, 2, 6] = 1
    label[0, 4, 2, 0] = 1  # beyond the canvas, where training cuts as well
    images, classes = PrepareSlices(REGIONS, [8, 8])({"image": image, "label": label}, torch.device("cpu"))
    assert images.shape == (5, 4, 8, 8) and classes.tolist() == [0, 0, 0, 1, 0]
    torch.testing.assert_close(images[:, :, 1:7], image[0, :, :, :, 2:10].transpose(0, 1))
    assert (images[:, :, [0, 7]] == 0).all()
    assert PrepareSlices(REGIONS, [8, 8])({"image": image}, torch.device("cpu"))[1] is None


def test_parts_give_what_the_whole_gives():
    sizes = []
    network = torch.nn.Linear(3, 2)
    network.register_forward_hook(lambda *call: sizes.append(len(call[2])))
    x = torch.rand(7, 3)
    torch.testing.assert_close(InParts(3)(x, network), network(x))
    assert sizes == [3, 3, 1, 7]


def test_it_learns_one_batch_by_heart(project):
    """Its own network, loss, optimiser and data: every one of 8 slices right within 60 steps."""
    torch.manual_seed(1)
    config = parser("resnet50_classifier", learning_rate=0.003)
    network, loss, optimizer = (config.get_parsed_content(key) for key in ("network", "loss", "optimizer"))
    prepare_batch, dataset = (config.get_parsed_content(f"train#{key}") for key in ("prepare_batch", "dataset"))
    prepare_batch.augmentation = None
    chosen = [*dataset.foreground[:4], *dataset.background[:4]]
    items = [(i, dataset.corners[i], np.zeros(1)) for i in chosen]
    image, truth = prepare_batch(dataset.__getitems__(items), config.get_parsed_content("device"))
    assert truth.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    for _ in range(60):
        optimizer.zero_grad()
        logits = network(image)
        if (logits.argmax(1) == truth).all() and loss(logits, truth) < 0.1:
            return
        loss(logits, truth).backward()
        optimizer.step()
    pytest.fail(f"after 60 steps: {logits.tolist()}")


def write_table(path, truth, probability, first=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"z": range(first, first + len(probability)), "truth": truth, "probability": probability})
    table.to_csv(path, index=False)
    return path


def test_slices_are_scored_as_voxels_are(tmp_path):
    """2 hits (one at exactly one half), 1 miss, 1 false alarm, 4 right without tumour."""
    truth, probability = [1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.5, 0.49, 0.7, 0.1, 0.0, 0.2, 0.3]
    (row,) = detection.score_slices(write_table(tmp_path / "case.csv", truth, probability))
    expected = {"region": "slice", "note": "", "tp": 2, "fp": 1, "fn": 1, "tn": 4}
    expected |= {"iou": 0.5, "specificity": 0.8, "accuracy": 0.75}
    expected |= {"dice": pytest.approx(4 / 6), "sensitivity": pytest.approx(2 / 3), "precision": pytest.approx(2 / 3)}
    assert {key: row[key] for key in expected} == expected and "hd95" not in row


def test_a_case_without_tumour_that_is_seen_so_is_perfect(tmp_path):
    (row,) = detection.score_slices(write_table(tmp_path / "case.csv", [0, 0, 0], [0.1, 0.2, 0.3]))
    assert row["note"] == "both empty" and (row["dice"], row["accuracy"], row["tn"]) == (1.0, 1.0, 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("z,truth\n1,0\n", "found the columns z, truth"),
        ("", "is not a table"),
        ("z,truth,probability\n1,0,1.5\n", "probabilities from 0 to 1"),
        ("z,truth,probability\n1,0,\n", "probabilities from 0 to 1"),
        ("z,truth,probability\n1,0,0.5\n1,0,0.5\n", "each z once"),
        ("z,truth,probability\n1,,0.5\n", "truth of 0 or 1 for every slice"),
        (None, "does not exist"),
    ],
)
def test_what_is_no_table_of_slices_is_refused(tmp_path, text, found):
    if text is not None:
        (tmp_path / "case.csv").write_text(text)
    with pytest.raises(InputError, match=rf"case\.csv.*{found}"):
        detection.score_slices(tmp_path / "case.csv")


@pytest.fixture(params=AFFINES)
def oriented(project, request):
    """A case whose file has its axes in one of several orders and directions, with its label as published."""
    images, label = brain()
    save_case("Brats18_A_1_1", images, label, AFFINES[request.param])
    scan("brats2018", Path("scans"))
    (case,) = prepare("brats2018")
    return case


def axial(case, labels):
    """Label map in canonical order, third axis last, by nibabel alone."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, case.affine)).dataobj)


def test_the_table_says_where_in_the_whole_volume_a_slice_lies(oriented, tmp_path):
    case = oriented
    whole = axial(case, case.original_label())
    logits = torch.zeros(len(case.z), 2)
    logits[0] = torch.tensor([0.0, np.log(3)])
    state = SimpleNamespace(batch={"index": torch.tensor([0])}, output={"pred": logits})
    SliceTableWriter(str(tmp_path), [case], REGIONS)(SimpleNamespace(state=state))
    table = detection.read_slices(tmp_path / "Brats18_A_1_1.csv")
    assert table["probability"].tolist() == pytest.approx([0.75, *[0.5] * (len(case.z) - 1)])
    found = set(table["z"][table["truth"] == 1])
    assert found == set(np.flatnonzero((whole > 0).any((0, 1)))) and 0 < len(found) < whole.shape[2]
    withheld = dataclasses.replace(case, case=dataclasses.replace(case.case, label=None))
    SliceTableWriter(str(tmp_path), [withheld], REGIONS)(SimpleNamespace(state=state))
    assert detection.read_slices(tmp_path / "Brats18_A_1_1.csv")["truth"].isna().all()


def test_the_gate_empties_the_slices_without_tumour_and_no_others(oriented, tmp_path):
    case, labels = oriented, oriented.original_label()
    shut = np.flatnonzero((axial(case, labels) > 0).any((0, 1)))[1]
    expected = axial(case, labels).copy()
    expected[:, :, shut] = 0
    path = write_table(tmp_path / "case.csv", 0, [0.499 if z == shut else 0.5 for z in case.z], case.z[0])
    found = detection.gated(case, labels, path)
    assert found.shape == labels.shape and found.dtype == np.uint8
    np.testing.assert_array_equal(axial(case, found), expected)
    assert 0 < np.count_nonzero(found) < np.count_nonzero(labels)
    with pytest.raises(InputError, match=rf"case\.csv: expected every slice of Brats18_A_1_1, .* z {case.z[-1]}"):
        detection.gated(case, labels, write_table(tmp_path / "case.csv", 0, [0.9] * (len(case.z) - 1), case.z[0]))


@pytest.fixture(scope="module")
def two_stages(template, tmp_path_factory):
    """The project after the runs of a classifier, a segmenter and both as one system, in this process."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("two_stages") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = {**TINY["set"], "max_epochs": 1, "epoch_images": 8}
        write_study("staged", models=[MODELS[2], *MODELS[:2]], set=settings)
        system, *parts = study.load("staged").runs()
        with pytest.raises(InputError, match=f"joins {system.stages[0]}: expected that run to be done"):
            running.run(system, "phantom")
        for run in (*parts, system):
            running.run(run, "phantom")
    return folder


@pytest.fixture
def staged(two_stages, tmp_path, monkeypatch):
    """A copy of that project, as the working directory: its runs by model."""
    monkeypatch.chdir(shutil.copytree(two_stages, tmp_path / "project"))
    system, gate, segmenter = study.load("staged").runs()
    return SimpleNamespace(system=system, gate=gate, segmenter=segmenter)


def test_a_system_of_two_stages_joins_its_parts(staged):
    first, *others = execute.in_order([staged.system, staged.gate, staged.segmenter])
    assert first == [staged.gate, staged.segmenter] and others == [[staged.system], []]
    assert staged.system.stages == (staged.gate.id, staged.segmenter.id)
    folder = store.folder(staged.system)
    assert not (folder / "models").exists() and not (folder / "configs").exists()
    record = json.loads((folder / "run.json").read_text())
    parts = [json.loads((place / "run.json").read_text()) for place in store.stage_folders(staged.system)]
    assert list(record["identity"]["stages"].items()) == [
        (staged.gate.id, parts[0]["fingerprint"]), (staged.segmenter.id, parts[1]["fingerprint"])
    ]  # fmt: skip
    assert record["identity"]["members"] == {
        f"{id_}/predictions": part["predictions_sha256"] for id_, part in zip(staged.system.stages, parts, strict=True)
    }
    assert list(record["stages"]) == ["predict", "score"]
    assert record["identity"]["threshold"] == detection.THRESHOLD


def test_the_classifier_writes_tables_scores_and_accuracies(staged):
    folder = store.folder(staged.gate)
    history = store.history(staged.gate)
    assert {"train_accuracy", "val_accuracy", "train_loss", "val_loss"} <= set(history.columns)
    assert "val_dice" not in history and history[["train_accuracy", "val_accuracy"]].stack().between(0, 1).all()
    scores = read_tidy(folder / "scores.csv")
    assert set(scores["region"]) == {"slice"} and "hd95" not in set(scores["metric"])
    cases = {case.case.case_id: case for case in prepare("phantom")}
    for case_id, rows in scores.groupby("case_id"):
        table = detection.read_slices(folder / "predictions" / f"{case_id}.csv")
        value = rows.set_index("metric")["value"]
        assert value["tp"] + value["fn"] == len(cases[case_id].header["foreground"]) == table["truth"].sum()
        assert value[["tp", "fp", "fn", "tn"]].sum() == len(table) == len(cases[case_id].z)
        right = ((table["probability"] >= 0.5) == (table["truth"] == 1)).mean()
        assert value["accuracy"] == pytest.approx(right)


def redo(run):
    """Join a run's parts anew, which it does not do in its folder when these have changed."""
    with pytest.raises(InputError, match=f"differs in members#{run.stages[0]}/predictions"):
        running.run(run, "phantom")
    shutil.rmtree(store.folder(run))
    running.run(run, "phantom")
    return read_tidy(store.folder(run) / "scores.csv")


def test_an_open_gate_changes_nothing_and_a_shut_one_leaves_nothing(staged):
    gate, segmented = (store.folder(run) / "predictions" for run in (staged.gate, staged.segmenter))
    truth = {case.case.case_id: case.original_label() for case in prepare("phantom")}
    # A segmenter that is always right, whatever one epoch taught this one.
    for path in segmented.iterdir():
        image = nibabel.load(path)
        labels = truth[path.name.removesuffix(".nii.gz")].astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), path)
    for probability in (1.0, 0.0):
        for path in gate.iterdir():
            detection.read_slices(path).assign(probability=probability).to_csv(path, index=False)
        for stage in (gate, segmented):
            # As if they had been predicted so: a run whose predictions were changed later is not joined.
            record = json.loads((stage.parent / "run.json").read_text())
            record["predictions_sha256"] = store.predictions_sha256(stage.parent)
            (stage.parent / "run.json").write_text(json.dumps(record))
        scores = redo(staged.system)
        assert set(scores["variant"]) == {"two_stage"}
        maps = [nibabel.load(path).get_fdata() for path in (store.folder(staged.system) / "predictions").iterdir()]
        if probability:
            assert (scores.loc[scores["metric"] == "dice", "value"] == 1).all() and all(one.any() for one in maps)
        else:
            assert not any(values.any() for values in maps)
            assert (scores.loc[scores["metric"] == "tp", "value"] == 0).all()


def test_a_system_is_tested_on_corrupted_images_by_what_its_parts_made_of_these(staged):
    write_study(
        "staged", models=[MODELS[2], *MODELS[:2]], set={**TINY["set"], "max_epochs": 1, "epoch_images": 8},
        test_on={"sweep": {"missing": ["T1"]}},
    )  # fmt: skip
    system, gate, segmenter = study.load("staged").runs()
    with pytest.raises(InputError, match=r"missing-T1/scores\.csv does not exist: expected the test of a run"):
        running.run(system, "phantom")
    assert [store.state(run) for run in (system, gate)] == ["failed", "pending: test_on"]
    for run in (gate, segmenter, system):
        running.run(run, "phantom")
        assert store.state(run) == "done"
    places = [store.other_folder(run, system.test_on[0]) / "predictions" for run in (gate, segmenter, system)]
    for case in DataSet("phantom").part(0, "test"):
        name = f"{case.case.case_id}.nii.gz"
        labels = nibabel.load(places[1] / name).get_fdata().astype(np.uint8)
        expected = detection.gated(case, labels, places[0] / f"{case.case.case_id}.csv")
        np.testing.assert_array_equal(nibabel.load(places[2] / name).get_fdata(), expected)


def test_parts_that_are_not_done_are_named(staged, command):
    (store.folder(staged.gate) / "scores.csv").unlink()
    (store.folder(staged.system) / "scores.csv").unlink()
    sentence = f"Run {staged.system.id} joins {staged.gate.id}: expected that run to be done"
    with pytest.raises(InputError, match=sentence):
        running.run(staged.system, "phantom")
    code, _, error = command("run-all", "staged", "--select", "variant=two_stage")
    assert code == 2 and sentence in error and len(error.splitlines()) == 1


def test_a_part_that_was_made_anew_with_other_settings_makes_the_system_stale(staged):
    path = store.folder(staged.gate) / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "fingerprint": "0" * 64}))
    with pytest.raises(InputError, match=f"another fingerprint, which differs in stages#{staged.gate.id}"):
        running.run(staged.system, "phantom")


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (
            {"stages": ["resnet50_classifier", "big"]},
            "stages: expected two of resnet50_classifier, unet, found 'big'",
        ),
        ({"stages": ["unet", "resnet50_classifier"]}, "found \\['segmentation', 'classification'\\]"),
        ({"stages": ["unet", "unet"]}, "expected bundles for classification and segmentation"),
        (
            {"stages": ["resnet50_classifier", "unet"], "bundle": "la_resunet"},
            "must name its segmenter's bundle 'unet' and may not use set or track",
        ),
        (
            {"stages": ["resnet50_classifier", "unet"], "set": {"seed": 2}},
            "must name its segmenter's bundle 'unet' and may not use set or track",
        ),
        ({"stages": ["unet"]}, r"models/2/stages: "),
    ],
)
def test_what_cannot_be_joined_is_refused(project, entry, found):
    write_study("wrong", models=[*MODELS[:2], {**MODELS[2], **entry}])
    with pytest.raises(InputError, match=found):
        study.load("wrong")
