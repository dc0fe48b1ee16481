"""Trained networks on new scans: as their study predicted, in each case's own space, and refused where that is far."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helpers.project import CHANNELS, TINY, write_study

from benchmark.base.files import write_json
from benchmark.base.records import InputError
from benchmark.data.manifest import data_folder, load_cases
from benchmark.data.probabilities import CUT, read_probabilities
from benchmark.data.raw.record import Input, Steps
from benchmark.data.resample import resample
from benchmark.data.volumes import ending_of, sha256_file
from benchmark.studies import ensemble, predict, study, trained
from benchmark.studies import run as running

RUN = Path("runs/tiny/resunet_tversky/default/fold0-seed1")
ENDS = ("_0000", "_0001", "_0002", "_0003")


@pytest.fixture(scope="module")
def done(template, tmp_path_factory):
    """A project with one finished run, of one epoch."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("predict") / "project")
    with contextlib.chdir(folder):
        write_study(
            "tiny", models=[{"bundle": "resunet_tversky"}], set={**TINY["set"], "max_epochs": 1, "learning_rate": 0.01}
        )
        running.run(study.load("tiny").runs()[0], "phantom")
    return folder


@pytest.fixture
def finished(done, tmp_path, monkeypatch):
    """A copy of that project, as the working directory."""
    monkeypatch.chdir(shutil.copytree(done, tmp_path / "project"))


@pytest.fixture
def tested(finished):
    """The test cases of the run, by id."""
    ids = {path.name.removesuffix(".nii.gz") for path in (RUN / "predictions").iterdir()}
    return {case.case_id: case for case in load_cases("phantom").cases if case.case_id in ids}


def scans_of(cases, folder, change=lambda image: image, name=lambda case_id: case_id):
    """Copy images without labels, named as nnU-Net's, in one folder; ``change`` makes another image of each."""
    folder.mkdir()
    for case in cases:
        for path, end in zip(case.images.values(), ENDS, strict=True):
            image = change(nibabel.load(data_folder("phantom") / path))
            nibabel.save(image, folder / f"{name(case.case_id)}{end}.nii.gz")
    return folder


def finer(image):
    """Each voxel split into 2 x 2 x 1."""
    voxels = np.asarray(image.dataobj).repeat(2, axis=0).repeat(2, axis=1)
    affine = image.affine @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    return nibabel.Nifti1Image(voxels, affine)


def test_a_copied_run_predicts_anywhere_what_it_predicted_in_its_study(tested, tmp_path, monkeypatch, command):
    """Outside a project, without the training set, labels and ids: the same bytes as of the study's own inference."""
    scans = scans_of(tested.values(), tmp_path / "scans", name=lambda case_id: f"new {case_id}")
    run = shutil.copytree(RUN, tmp_path / "frozen")
    expected = {path.name: path.read_bytes() for path in (run / "predictions").iterdir()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, _ = command("predict", run, scans, "made", "--probabilities")
    assert code == 0 and {f"new {name}" for name in expected} == {path.name for path in Path("made").glob("*.nii.gz")}
    assert all(Path("made", f"new {name}").read_bytes() == made for name, made in expected.items())
    for path in (run / "probabilities").iterdir():
        found = read_probabilities(Path("made", "probabilities", f"new {path.name}"))
        np.testing.assert_array_equal(found, read_probabilities(path))
    count = f"{len(expected)} case{'s' * (len(expected) > 1)}"
    assert f"{count} by one network, trained on phantom at 6 x 6 x 6 mm, from T1, T1c, T2, FLAIR." in out
    assert "order of the training set: _0000 T1, _0001 T1c, _0002 T2, _0003 FLAIR." in out
    assert "resampled" not in out and "warning" not in out
    assert not list(Path("made").glob(".*"))
    code, _, err = command("predict", run, scans, "made")
    assert code == 2 and "expected predictions without --probabilities, found those with it" in err


def test_finer_scans_are_averaged_and_probabilities_brought_back(tested, tmp_path):
    scans = scans_of(tested.values(), tmp_path / "scans", finer)
    job = predict.look([trained.of_run(RUN)], scans, tmp_path / "made")
    assert "with voxels of 3 x 3 x 6 mm: images are resampled to 6 x 6 x 6 mm, by the mean" in "\n".join(job.said)
    for path in predict.write(job)[0]:
        case_id = path.name.removesuffix(".nii.gz")
        found, image = nibabel.load(path), nibabel.load(scans / f"{case_id}_0000.nii.gz")
        assert found.shape == image.shape
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-6)
        # The mean of equal voxels is the image that the run itself was tested on.
        codes = read_probabilities(RUN / "probabilities" / path.name)
        back = np.ceil(resample(codes, (0.5, 0.5, 1), image.shape) - 0.5).astype(np.uint8)
        labels = ensemble.label_map(back, [2, 1, 4])
        assert labels.any() and (back >= CUT).any()
        np.testing.assert_array_equal(np.asarray(found.dataobj), labels)


def test_label_maps_come_back_to_the_raw_scans_that_a_record_names(tested, tmp_path, command):
    """Here a raw scan is the prepared one with its first axis turned round, somewhere else in space."""
    case = next(iter(tested.values()))
    scans, name = scans_of([case], tmp_path / "scans"), f"{case.case_id}.nii.gz"
    code, out, _ = command("predict", RUN, scans, tmp_path / "out", "--back", tmp_path / "back")
    assert code == 2 and not (tmp_path / "out").exists()
    image = nibabel.load(scans / f"{case.case_id}_0001.nii.gz")
    away = nibabel.affines.from_matvec(np.eye(3), [30, -200, 10])
    mirrored = away @ image.affine @ nibabel.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], image.shape)
    steps = Steps(
        case_id=case.case_id, reference="T1c", versions={}, settings={}, bias={}, registrations={}, brain_ml=1.0,
        inputs={"T1c": Input(file="a", sha256="0", shape=list(image.shape), affine=mirrored.tolist())},
        transforms={"T1c": away.tolist()}, shape=list(image.shape), affine=image.affine.tolist(),
        files={path.name: sha256_file(path) for path in scans.iterdir()},
    )  # fmt: skip
    write_json(scans / f"{case.case_id}_raw.json", steps.model_dump())
    _, out, _ = command("predict", RUN, scans, tmp_path / "first")
    assert "1 case prepared from raw scans: --back DIR writes label maps in the raw scans' space too." in out
    code, out, _ = command("predict", RUN, scans, tmp_path / "out", "--back", tmp_path / "back")
    assert code == 0 and f"and those of the raw scans to {tmp_path / 'back'}" in out
    labels, back = nibabel.load(tmp_path / "out" / name), nibabel.load(tmp_path / "back" / name)
    assert np.asarray(labels.dataobj).any()
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(labels.dataobj)[::-1])
    np.testing.assert_allclose(back.affine, mirrored, atol=1e-4)
    code, out, _ = command("predict", RUN, scans, tmp_path / "out", "--back", tmp_path / "back")
    assert code == 0 and "from the same files: 1 of 1 case" in out and "Wrote 0 label maps" in out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).touch()
    code, _, err = command("predict", RUN, scans, tmp_path / "out", "--back", tmp_path / "mine")
    assert code == 2 and "expected no such file, found one that is not on record" in err
    (tmp_path / "mine" / name).unlink()
    assert command("predict", RUN, scans, tmp_path / "out", "--back", tmp_path / "mine")[0] == 0
    assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_an_ensemble_is_the_mean_of_the_probabilities_of_all_seeds(tested, tmp_path, command):
    write_study("tiny", seeds=[1, 2])
    other = shutil.copytree(RUN, RUN.with_name("fold0-seed2"))
    weights = torch.load(other / "models/model.pt", weights_only=True)
    torch.save({key: value * 1.1 if value.is_floating_point() else value for key, value in weights.items()},
               other / "models/model.pt")  # fmt: skip
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, "trained": {}}))
    scans = scans_of(tested.values(), tmp_path / "scans")
    code, out, _ = command(
        "predict", "tiny", scans, tmp_path / "both", "--ensemble", "--bundle", "resunet_tversky", "--probabilities"
    )
    assert code == 0 and "by the mean of 2 networks" in out
    assert command("predict", other, scans, tmp_path / "one", "--probabilities")[0] == 0
    for name in (f"{case_id}.nii.gz" for case_id in tested):
        parts = [read_probabilities(place / "probabilities" / name) for place in (RUN, tmp_path / "one")]
        assert (parts[0] != parts[1]).any()
        np.testing.assert_array_equal(
            read_probabilities(tmp_path / "both/probabilities" / name), ensemble.average(parts)
        )
    with pytest.raises(InputError, match="expected --bundle and --variant of one of its models, unet, resunet_tversky"):
        trained.find("tiny", joined=True)
    code, _, error = command("predict", "tiny", scans, tmp_path / "none", "--ensemble", "--bundle", "unett")
    assert code == 2 and error.endswith("of its models, unet, resunet_tversky, la_resunet; found unett.\n")


def test_a_bundle_that_monai_trained_is_found_by_its_name(tested, tmp_path, monkeypatch):
    shutil.copytree(RUN / "models", "bundles/resunet_tversky/models")
    one, run = trained.find("resunet_tversky", changes={"channels": CHANNELS})[0], trained.of_run(RUN)
    assert (one.spacing, one.dataset, set(one.patients)) == (run.spacing, "phantom", set(run.patients))
    job = predict.look([one], scans_of(tested.values(), tmp_path / "scans"), tmp_path / "made")
    for path in predict.write(job)[0]:
        assert path.read_bytes() == (RUN / "predictions" / path.name).read_bytes()
    job = predict.look(trained.find("resunet_tversky"), tmp_path / "scans", tmp_path / "other")
    with pytest.raises(InputError, match="holds another network's weights"):
        predict.write(job)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["predicted.json"]
    with pytest.raises(InputError, match="no id 'chanels'"):
        trained.find("resunet_tversky", changes={"chanels": CHANNELS})


def test_a_command_that_was_stopped_goes_on_with_what_is_missing_and_mixes_nothing(
    tested, tmp_path, monkeypatch, command
):
    """Killed between two cases, then repeated; then with other weights, and with other scans."""
    cases = [*tested.values(), *(case for case in load_cases("phantom").cases if case.case_id not in tested)][:3]
    scans, out = scans_of(cases, tmp_path / "scans"), tmp_path / "made"
    one = trained.of_run(RUN)
    seen = []

    def stopped(done, total, name):
        seen.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict.write(predict.look([one], scans, out), stopped)
    assert [path.name for path in out.glob("*.nii.gz")] == seen and not list(out.glob(".*"))
    first = (out / seen[0]).stat().st_mtime_ns
    code, said, _ = command("predict", RUN, scans, out)
    assert (
        code == 0
        and "There already, by the same weights from the same files: 1 of 3 cases." in said
        and "Wrote 2 label maps" in said
    )
    assert (out / seen[0]).stat().st_mtime_ns == first and len(list(out.glob("*.nii.gz"))) == 3
    whole = {path.name: path.read_bytes() for path in predict.write(predict.look([one], scans, tmp_path / "whole"))[0]}
    assert {path.name: path.read_bytes() for path in out.glob("*.nii.gz")} == whole

    image = nibabel.load(scans / f"{seen[0].removesuffix('.nii.gz')}_0002.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine), image.get_filename())
    code, _, err = command("predict", RUN, scans, out)
    assert code == 2 and "expected the prediction of the scans of" in err and "(another T2)" in err
    state = torch.load(RUN / "models/model.pt", weights_only=True)
    torch.save(dict(reversed(state.items())), RUN / "models/model.pt")
    monkeypatch.setattr("benchmark.studies.store.check_trained", lambda place: None)
    code, _, err = command("predict", RUN, scans, out)
    assert code == 2 and "found those of other weights or settings" in err
    (out / "predicted.json").unlink()
    code, _, err = command("predict", RUN, scans, out)
    assert code == 2 and "expected no such file, found one that is not on record" in err


def test_a_case_that_cannot_be_predicted_ends_no_other_and_is_named(tested, tmp_path, command):
    case = next(iter(tested.values()))
    scans = scans_of([case], tmp_path / "scans", lambda image: nibabel.Nifti1Image(0 * image.get_fdata(), image.affine),
                     lambda _: "zeros")  # fmt: skip
    for path in scans_of([case], tmp_path / "good").iterdir():
        shutil.copy(path, scans)
        (scans / path.name.replace(case.case_id, "broken")).write_bytes(path.read_bytes()[:2000])
    code, out, err = command("predict", RUN, scans, tmp_path / "made")
    assert code == 2 and f"Wrote 1 label map to {tmp_path / 'made'}." in out
    assert f"NOT PREDICTED zeros: Case zeros is empty: expected a brain, found only zeros in {scans}." in err
    assert f"NOT PREDICTED broken: {scans}/broken_0000.nii.gz" in err and "Traceback" not in err
    made = tmp_path / "made" / f"{case.case_id}.nii.gz"
    assert made.read_bytes() == (RUN / "predictions" / made.name).read_bytes()
    code, out, err = command("predict", RUN, scans, tmp_path / "made")
    assert code == 2 and "Wrote 0 label maps" in out and err.count("NOT PREDICTED") == 2


def test_cases_of_the_training_set_are_warned_of_by_id_and_by_content(tested, tmp_path):
    run = trained.of_run(RUN)
    cases = load_cases("phantom").cases
    known = next(case for case in cases if case.patient_id in run.patients)
    scans = tmp_path / "scans"
    scans.mkdir()
    ending = ending_of(known.label)
    for path, end in zip(known.images.values(), ENDS, strict=True):
        for name in ("somebody", known.case_id):
            shutil.copy(data_folder("phantom") / path, scans / f"{name}{end}{ending}")
    shutil.copy(data_folder("phantom") / known.label, scans / f"somebody_seg{ending}")
    said = predict.look([run], scans, tmp_path / "made").said
    assert [text for text in said if text.startswith("warning")] == [
        f"warning: {known.case_id}, somebody: the network was trained on this patient: the result says nothing of new "
        "ones."
    ]
    assert f"Not used, as their names are of no sequence: somebody_seg{ending} (1 in all)." in said
    assert not any(run.knows(case) for case in tested.values())
    said = predict.look([replace(run, patients=())], scans, tmp_path / "made").said
    assert f"warning: on whom {RUN} was trained is not on record: is it new to these cases?" in said


def test_a_copied_sequence_and_air_that_is_not_zero_are_warned_of(tested, tmp_path):
    scans = scans_of([next(iter(tested.values()))], tmp_path / "scans", name=lambda _: "A")
    shutil.copy(scans / "A_0002.nii.gz", scans / "A_0003.nii.gz")
    image = nibabel.load(scans / "A_0000.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), scans / "A_0000.nii.gz")
    said = "\n".join(predict.look([trained.of_run(RUN)], scans, tmp_path / "made").said)
    assert "warning: A: T2 and FLAIR hold the same voxels" in said
    assert "warning: A: no voxel of T1 is exactly 0, so that skull and air count as brain" in said


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (np.diag([1.4, 6, 6, 1]), r"within a factor of 4 of 6 x 6 x 6 mm, .* found 1\.4 x 6 x 6 mm"),
        (np.diag([6, 6, 25, 1.0]), "within a factor of 4"),
        (np.array([[4.8, -3.6, 0, 0], [3.6, 4.8, 0, 0], [0, 0, 6, 0], [0, 0, 0, 1]]), "found one 37 degrees off"),
    ],
)
def test_voxels_far_from_what_the_network_knows_are_refused(tested, tmp_path, matrix, sentence):
    cases = [next(iter(tested.values()))]
    scans = scans_of(cases, tmp_path / "scans", lambda image: nibabel.Nifti1Image(image.dataobj, matrix))
    with pytest.raises(InputError, match=sentence):
        predict.look([trained.of_run(RUN)], scans, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_what_is_no_network_that_segments_is_refused(finished, command):
    for arguments, sentence in [
        (["nothing"], "nothing is no trained network: expected a run's folder (one with run.json), a bundle ("),
        (["unet"], "model.pt does not exist: expected what a training leaves"),
        ([RUN, "--bundle", "unet"], "expected --ensemble and a study's name"),
        ([RUN, "--set", "channels=1"], "a run that keeps its own values"),
        (["tiny", "--ensemble", "--bundle", "nnunet"], "found nnunet."),
        ([RUN, "--epocs", "9"], "No such option: --epocs"),
    ]:
        code, _, err = command("predict", arguments[0], "data_manifests", "made", *arguments[1:])
        assert code == 2 and sentence in " ".join(err.replace("│", " ").split())
    record = json.loads((RUN / "run.json").read_text())
    config = json.loads((RUN / "configs/inference.json").read_text())
    for part, change, sentence in [
        ("run.json", {"trained_on": None}, "expected the voxel size that was trained on"),
        ("configs/inference.json", {"task": "classification"}, "a network that segments, found one for classification"),
        ("configs/inference.json", {"depth": "$@planner.plan"}, "the depth that was planned from the training set"),
    ]:
        whole = record if part == "run.json" else config
        (RUN / part).write_text(json.dumps({**whole, **change}))
        with pytest.raises(InputError, match=sentence):
            trained.of_run(RUN)
        (RUN / part).write_text(json.dumps(whole))
    planned = {"spacing": "$list(@planner.plan.spacing)", "spatial_size": "$list(@planner.plan.topology.patch_size)"}
    (RUN / "configs/inference.json").write_text(json.dumps({**config, **planned}))
    one = trained.of_run(RUN)
    assert one.config["spacing"] == [6, 6] and one.config["spatial_size"] == [32, 32]
