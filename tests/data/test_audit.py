"""Small sets with one planted defect each, and what the audit has to say about it."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.project import copy_manifests
from PIL import Image
from scipy import ndimage

from benchmark.base.records import InputError
from benchmark.data.audit import audit
from benchmark.data.audit.measures import lacking, rectangles, robust_z, slice_dice, thumbnails
from benchmark.data.folds import remake
from benchmark.data.label_maps import label_files
from benchmark.data.scan import scan

SUFFIXES = {"T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "FLAIR": "_flair", "label": "_seg"}
SHAPE = (40, 44, 8)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that knows the published sets and has none."""
    (tmp_path / "bundles").mkdir()
    copy_manifests(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def subject(seed):
    """Four noisy images of an ellipsoid, and a round tumour with three labels in its slices 2 to 5."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    centre = np.array(SHAPE) / 2
    brain = (((grid - centre) / (0.45 * np.array(SHAPE))) ** 2).sum(axis=-1) <= 1
    images = {
        m: np.where(brain, np.maximum(200 + 80 * smooth(rng), 20), 0).round().astype(np.int16)
        for m in list(SUFFIXES)[:4]
    }
    away = np.linalg.norm(grid - centre - rng.uniform(-4, 4, 3) * [1, 1, 0], axis=-1) * [1.0]
    label = np.select([away <= 1.5, away <= 3, away <= 5.3], [1, 4, 2], 0) * ((grid[..., 2] >= 2) & (grid[..., 2] <= 5))
    return {**images, "label": label.astype(np.uint8), "affine": np.diag([-1.0, -1.0, 1.0, 1.0])}


def smooth(rng):
    """Noise that neighbouring slices share."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (2, 2, 8))
    return noise / noise.std()


def subjects():
    return {f"Brats18_X_{n}_1": subject(n) for n in range(6)}


def write(cases, folder="scans"):
    for case_id, arrays in cases.items():
        Path(folder, case_id).mkdir(parents=True, exist_ok=True)
        for key, suffix in SUFFIXES.items():
            image = nibabel.Nifti1Image(arrays[key], arrays["affine"])
            nibabel.save(image, Path(folder, case_id, f"{case_id}{suffix}.nii.gz"))
    return Path(folder)


def audited(cases, **options):
    """Scan the cases with two folds by patient and return what the audit found, by check and place."""
    scan("brats2018", write(cases))
    remake("brats2018", k=2, validation=0.3, replace=True)
    return by_check(audit("brats2018", **options))


def by_check(findings):
    return {f"{one.check} ({one.where})" if one.where else one.check: one for one in findings}


def reported(findings):
    """Severity of all that is not clean."""
    return {check: one.severity for check, one in findings.items() if one.severity not in ("clean", "not checked")}


def split_by_slice(folds):
    path = Path("data_manifests/brats2018.slice.folds.json")
    path.write_text(json.dumps({"by": "slice", "seed": 1, "scheme": {}, "folds": folds}), encoding="utf-8")


def test_a_clean_set(project):
    found = audited(subjects())
    assert reported(found) == {"label values": "note"}
    assert len(found) == 25
    assert {one.count for check, one in found.items() if one.severity == "clean" and "picture" not in check} == {0}


def same_channel(cases):
    cases["Brats18_X_1_1"]["T1"] = cases["Brats18_X_1_1"]["FLAIR"]


def no_channel(cases):
    cases["Brats18_X_1_1"]["T2"] = np.zeros(SHAPE, np.int16)


def no_enhancing(cases):
    label = cases["Brats18_X_1_1"]["label"]
    label[label == 4] = 1


def no_tumour(cases):
    cases["Brats18_X_1_1"]["label"] = np.zeros(SHAPE, np.uint8)


def no_oedema(cases):
    for arrays in cases.values():
        arrays["label"][arrays["label"] == 2] = 1


def everywhere(cases):
    for arrays in cases.values():
        arrays["label"][:] = arrays["label"][:, :, 3:4]


def boxed(cases):
    for shift, arrays in enumerate(cases.values()):
        arrays["label"][:, :, 2:6] = 0
        arrays["label"][10 + shift : 20, 12:25, 2:6] = 2
        arrays["label"][12 + shift : 14 + shift, 14:16, 2:6] = 4
        arrays["label"][16, 20:22, 2:6] = 1


def spaced(cases):
    cases["Brats18_X_1_1"]["affine"] = np.diag([-1.0, -1.0, 2.0, 1.0])


def turned(cases):
    cases["Brats18_X_1_1"]["affine"] = np.diag([1.0, -1.0, 1.0, 1.0])


def longer(cases):
    arrays = cases["Brats18_X_1_1"]
    for key in SUFFIXES:
        arrays[key] = np.pad(arrays[key], ((0, 0), (0, 0), (0, 1)))


def bright(cases):
    cases["Brats18_X_1_1"]["T2"] = cases["Brats18_X_1_1"]["T2"] * np.int16(40)


def negative(cases):
    cases["Brats18_X_1_1"]["T2"][20, 20, 4] = -7


def flat(cases):
    cases["Brats18_X_1_1"]["T2"] = np.minimum(cases["Brats18_X_1_1"]["T2"], 260)


def cut(cases):
    cases["Brats18_X_1_1"]["FLAIR"][:, 31:] = 0


def same_label(cases):
    cases["Brats18_X_1_1"]["label"] = cases["Brats18_X_2_1"]["label"]


@pytest.mark.parametrize(
    ("spoil", "expected", "count", "total", "said"),
    [
        (same_channel, {"copied channels": "warning"}, 1, 6, "T1 = FLAIR in 1."),
        (no_channel, {"empty channels": "warning"}, 1, 6, "1 channels of 6 cases"),
        (no_enhancing, {"empty regions (ET)": "note"}, 1, 6, "Region ET is empty in 1 of 6"),
        (no_tumour, {"empty masks": "note", "empty regions (ET)": "note"}, 1, 6, "1 of 6 cases have an empty mask"),
        (no_oedema, {"label values": "warning"}, 1, 4, "2 (peritumoural oedema) in 0 cases, 0 voxels"),
        (everywhere, {"every picture a tumour": "warning"}, 48, 48, "All 48 slices show a tumour"),
        (boxed, {"rectangular masks": "error"}, 24, 24, "24 of 24 masks"),
        (spaced, {"spacing": "warning"}, 1, 6, "1 of 6 cases differ from the usual 1 x 1 x 1 mm."),
        (turned, {"orientation": "warning"}, 1, 6, "differ from the usual LPS."),
        (longer, {"shape (third axis)": "warning"}, 1, 6, "usual 8 voxels along the third axis"),
        (bright, {"unusual intensities": "warning"}, 1, 24, "Brats18_X_1_1 reaches"),
        (negative, {"negative intensities": "note"}, 1, 24, "1 of 24 images"),
        (flat, {"saturation": "note"}, 1, 24, "1 of 24 images"),
        (cut, {"cut field of view": "warning"}, 1, 24, "FLAIR of Brats18_X_1_1 lacks"),
        (same_label, {"identical label maps": "warning"}, 2, 6, "2 of 6 label maps"),
    ],
)
def test_a_planted_defect_is_found_and_no_other(project, spoil, expected, count, total, said):
    cases = subjects()
    spoil(cases)
    found = audited(cases)
    others = {"label values": "note"}
    if spoil is no_tumour:
        others |= {"empty regions (WT)": "note", "empty regions (TC)": "note"}
    assert reported(found) == others | expected
    first = found[next(iter(expected))]
    assert (first.count, first.total) == (count, total)
    assert said in first.sentence
    if count == 1 and spoil is not no_oedema:
        assert first.examples[0].startswith("Brats18_X_1_1")


def test_identical_images_on_two_sides_and_under_two_patients(project):
    cases = subjects()
    for key in list(SUFFIXES)[:4]:
        cases["Brats18_X_0_1"][key] = cases["Brats18_X_5_1"][key].copy()
    scan("brats2018", write(cases))
    ids = [f"Brats18_X_{n}" for n in range(6)]
    fold = {"train": ids[1:4], "validation": ids[4:5], "test": [ids[0], ids[5]]}
    other = {"train": ids[1:4] + ids[5:], "validation": ids[4:5], "test": ids[:1]}
    path = Path("data_manifests/brats2018.folds.json")
    path.write_text(json.dumps({"seed": 1, "scheme": {}, "folds": [fold, other]}), encoding="utf-8")
    found = by_check(audit("brats2018"))
    shown = int(np.count_nonzero(cases["Brats18_X_0_1"]["T1"].any(axis=(0, 1))))
    assert found["identical images"].count == 2 * shown
    assert f"in {shown} groups; {shown} of these groups hold several patients" in found["identical images"].sentence
    across = found["identical images across a split (patient)"]
    # Only the second fold has the two on different sides: three and two held-out cases of eight slices.
    assert (across.severity, across.count, across.total) == ("error", shown, 24 + 16)
    assert found["patients across a split (patient)"].severity == "clean"


def test_a_split_by_slice_leaks_patients_and_neighbours(project):
    scan("brats2018", write(subjects()))
    units = {n: [f"Brats18_X_{n}_1/{z}" for z in range(8)] for n in range(6)}
    # Patient 0 is on two sides with alternate slices, patient 1 in the test side only.
    train = units[0][::2] + units[2] + units[3] + units[4] + units[5]
    split_by_slice([{"train": train, "validation": [], "test": units[0][1::2] + units[1]}])
    found = by_check(audit("brats2018"))
    leak = found["patients across a split (slice)"]
    assert (leak.severity, leak.count, leak.total, leak.examples) == ("error", 4, 12, ("Brats18_X_0",))
    assert "4 of 12 test slices are of patients who are also in training" in leak.sentence
    alike = found["near-duplicates across a split (slice)"]
    assert alike.severity == "error"
    assert 2 <= alike.count <= 4
    assert {example.rpartition("/")[0] for example in alike.examples} == {"Brats18_X_0_1"}
    assert "0 as one of another patient" in alike.sentence
    assert not [check for check in by_check(audit("brats2018", ["patient"])) if "slice)" in check]
    with pytest.raises(InputError, match=r"--split published: expected one of patient, slice, found no such file"):
        audit("brats2018", ["published"])


def test_the_same_person_in_another_set(project):
    cases = subjects()
    scan("brats2018", write(cases))
    renamed = {"BraTS20_Training_007": cases["Brats18_X_3_1"], "BraTS20_Training_008": subject(77)}
    twin = {key: value[::-1] if key != "affine" else value for key, value in renamed["BraTS20_Training_007"].items()}
    # The same label map, stored mirrored with the affine that says so, beside images that differ.
    twin["affine"] = np.array([[1.0, 0, 0, -39], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    twin |= {key: np.ascontiguousarray(twin[key]) for key in SUFFIXES}
    twin["T1"] = twin["T1"] + np.int16(1)
    scan("brats2020", write(renamed | {"BraTS20_Training_007": twin}, "later"))
    found = by_check(audit("brats2018"))
    assert found["same person in another set (brats2020)"].examples == ("Brats18_X_3_1 = BraTS20_Training_007",)
    assert found["same ids in another set (brats2020)"].severity == "clean"
    scan("brats2018", Path("scans"), name="copy")
    assert by_check(audit("copy"))["same ids in another set (brats2018)"].count == 6


def test_label_maps_of_a_folder(project):
    cases = subjects()
    half = cases["Brats18_X_2_1"]["label"].copy()
    half[:, :, 4:] = 0
    Path("maps").mkdir()
    for name, label in {
        "A_07": cases["Brats18_X_4_1"]["label"],
        "A_08": subject(50)["label"],
        "Brats18_X_2_1": half,
    }.items():
        nibabel.save(nibabel.Nifti1Image(label, np.diag([-1.0, -1.0, 1.0, 1.0])), f"maps/{name}.nii.gz")
    found = audited(cases, labels=label_files(Path("maps")))
    assert found["same person in another set (--labels)"].examples == ("A_07 = Brats18_X_4_1",)
    dice = found["other masks of the same pictures (--labels)"]
    # Of four labelled slices two are equal and two lack on one side.
    assert (dice.severity, dice.count, dice.total) == ("error", 2, 4)
    assert "is 0.500" in dice.sentence


def test_label_maps_on_another_grid_are_not_called_clean(project):
    cases = subjects()
    Path("maps").mkdir()
    coarse = cases["Brats18_X_4_1"]["label"][::2, ::2, ::2]
    nibabel.save(nibabel.Nifti1Image(coarse, np.diag([-2.0, -2.0, 2.0, 1.0])), "maps/A_07.nii.gz")
    found = audited(cases, labels=label_files(Path("maps")))["same person in another set (--labels)"]
    assert found.severity == "not checked" and "No label map of the folder has the shape" in found.sentence


def test_ids_of_a_user(project):
    scan("brats2018", write({"Brats18_X_9_1": subject(9)}, "first"), name="TCGA")
    path = Path("data_manifests/TCGA.cases.json")
    path.write_text(path.read_text().replace('"patient_id": "Brats18_X_9"', '"patient_id": "TCGA_DU_1234"'))
    Path("subjects.csv").write_text(
        "subject,tcga_id,also_in_x,grade\nBrats18_X_0_1,TCGA-DU-1234,,HGG\nBrats18_X_1_1,TCGA-DU-123,yes,HGG\n"
    )
    found = audited(subjects(), patients=Path("subjects.csv"))
    assert found["other ids in another set (TCGA)"].examples == ("Brats18_X_0_1 = TCGA_DU_1234 (tcga_id)",)
    assert (found["declared overlap (also_in_x)"].count, found["declared overlap (also_in_x)"].total) == (1, 2)
    Path("subjects.csv").write_text("subject,tcga_id\nsomebody,TCGA-DU-1234\n")
    with pytest.raises(
        InputError, match=r"subjects.csv: expected the columns case_id and patient_id, with cases such as"
    ):
        audit("brats2018", patients=Path("subjects.csv"))
    Path("subjects.csv").write_text("case,patient_group\n" + "".join(f"Brats18_X_{n}_1,{n // 2}\n" for n in range(6)))
    found = by_check(audit("brats2018", patients=Path("subjects.csv")))
    assert found["patients across a split (patient)"].severity == "clean"
    assert found["patients across a split (patient, subjects.csv)"].severity == "error"


@pytest.fixture
def pictures(project):
    """Eight pictures of four patients, two of whom are on two sides, with boxes for outlines, and experts' halves."""
    rng = np.random.default_rng(5)
    contours, rows = {}, ["file_name,patient_group,kind\n"]
    for side, numbers in {"train": [1, 2, 3, 4, 5], "valid": [6], "test": [7, 8]}.items():
        Path("coco", side).mkdir(parents=True)
        images, annotations = [], []
        for number in numbers:
            name = f"{number}_jpg.rf.{number:032x}.jpg"
            Image.fromarray(rng.integers(1, 255, (65, 65), np.uint8)).save(f"coco/{side}/{name}")
            x, y = 10 + number, 21
            box = [x, y, x + 20, y, x + 20, y + 10, x, y + 10]
            contours[number] = [[x, y], [x + 10, y], [x + 10, y + 10], [x, y + 10]]
            images.append({"id": number, "file_name": name, "width": 65, "height": 65})
            annotations.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "segmentation": [box]})
            rows.append(f"{name},{ {6: 1, 7: 2}.get(number, number) },{'odd one' if number % 2 else 'even one'}\n")
        categories = [{"id": 0, "name": "Tumor"}, {"id": 1, "name": "0"}, {"id": 2, "name": "1"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        Path("coco", side, "_annotations.coco.json").write_text(json.dumps(content))
    Path("coco/expert_contours.json").write_text(json.dumps(contours))
    Path("coco/index.csv").write_text("".join(rows))
    scan("tumor2146", Path("coco"))
    scan("tumor2146_expert", Path("coco"))
    remake("tumor2146", split="published")
    return Path("coco")


def test_pictures_with_boxes_for_outlines(pictures):
    found = by_check(audit("tumor2146", patients=pictures / "index.csv"))
    assert (found["rectangular masks"].severity, found["rectangular masks"].count) == ("error", 8)
    assert found["rectangular outlines"].sentence == "8 of 8 annotated outlines are axis-aligned rectangles."
    assert found["every picture a tumour"].severity == "warning"
    names = found["category names"].sentence
    assert names.startswith('The annotations have the categories "1" (4), "0" (4); 8 of 8 pictures have one, so no')
    assert found["category names (kind of index.csv)"].sentence == (
        'By column kind of index.csv, category "0" is "even one" (4), category "1" is "odd one" (4).'
    )
    leak = found["patients across a split (published)"]
    assert (leak.severity, leak.count, leak.total) == ("error", 2, 3)
    assert "1 of 1 validation cases and 1 of 2 test cases are of patients who are also in training" in leak.sentence
    # A half of a box: Dice 2 * 100 / (200 + 100).
    dice = found["other masks of the same pictures (tumor2146_expert)"]
    assert (dice.severity, dice.count) == ("error", 8)
    assert "is 0.667 (SD 0.000) over 8" in dice.sentence
    assert found["copied channels"].severity == found["cut field of view"].severity == "not checked"


def test_the_split_that_a_publisher_ships_is_looked_at_unasked(pictures):
    Path("data_manifests/tumor2146.published.folds.json").unlink()
    for splits in (None, ["published"]):
        leak = by_check(audit("tumor2146", splits))["patients across a split (published)"]
        assert (leak.severity, leak.count, leak.total) == ("error", 2, 3)
    assert "patients across a split (published)" not in by_check(audit("tumor2146", ["patient"]))
    # A side that the manifest does not know: nobody looked, so nobody says that it is clean.
    path = Path("data_manifests/tumor2146.json")
    content = json.loads(path.read_text())
    sides = {"train": "train", "test": "test"}
    path.write_text(json.dumps({**content, "layout": {**content["layout"], "sides": sides}}))
    unread = by_check(audit("tumor2146"))["patients across a split (published)"]
    assert unread.severity == "not checked"
    assert unread.sentence.startswith(
        "The publisher's split could not be read: tumor2146: expected a publisher's split"
    )


def test_pictures_of_experts_are_no_boxes_by_the_publishers_file(pictures):
    assert by_check(audit("tumor2146_expert"))["rectangular outlines"].severity == "not checked"


def picture(number):
    return next(Path("coco").glob(f"*/{number}_jpg*"))


def test_where_nobody_says_whose_pictures_are_no_split_is_called_clean(pictures):
    (pictures / "index.csv").rename("patients.csv")
    # One of the test side is nearly one of training, and two others are the same.
    pixels = np.array(Image.open(picture(1)))
    pixels[:4, :4] = 0
    Image.fromarray(pixels).save(picture(7), quality=95)
    picture(8).write_bytes(picture(6).read_bytes())
    scan("tumor2146", pictures, replace=True)
    remake("tumor2146", k=2, validation=0.3, replace=True)
    remake("tumor2146", split="published", replace=True)
    scan("brats2018", write({"Brats18_X_1_1": subject(1)}))
    found = by_check(audit("tumor2146"))
    unknown = found["unknown patients"]
    assert (unknown.severity, unknown.count, unknown.total) == ("warning", 8, 8)
    for split in ("patient", "published"):
        assert found[f"patients across a split ({split})"].severity == "not checked"
    near = found["near-duplicates across a split (published)"]
    assert (near.severity, near.count, near.total, near.examples) == ("error", 1, 3, ("image_7/0",))
    assert "a training slice: 1 as another picture, of whom is not known" in near.sentence
    assert "in 1 group; whether they hold several patients is not known." in found["identical images"].sentence
    assert found["same ids in another set (brats2018)"].severity == "not checked"
    assert by_check(audit("tumor2146_expert"))["unknown patients"].severity == "clean"

    # A user's table says whose they are: 6 and 7 are of patients in training.
    told = by_check(audit("tumor2146", patients=Path("patients.csv")))[
        "patients across a split (published, patients.csv)"
    ]
    assert (told.severity, told.count, told.total) == ("error", 2, 3)
    rows = [f"{picture(n).name},{n}\n" for n in range(1, 9)]
    Path("apart.csv").write_text("file_name,patient\n" + "".join(rows))
    told = by_check(audit("tumor2146", patients=Path("apart.csv")))["patients across a split (published, apart.csv)"]
    assert (told.severity, told.count, told.total) == ("clean", 0, 3)


def test_more_pictures_than_are_compared_are_not_called_clean(pictures, monkeypatch):
    monkeypatch.setattr("benchmark.data.audit.SEARCHED", 7)
    assert by_check(audit("tumor2146"))["near-duplicates across a split (published)"].severity == "not checked"


def test_outlines_in_linked_folders_are_looked_at(pictures):
    Path("elsewhere").mkdir()
    for side in ("train", "valid", "test"):
        (pictures / side).rename(Path("elsewhere", side))
        (pictures / side).symlink_to(Path("elsewhere", side).resolve())
    found = by_check(audit("tumor2146"))
    assert (found["rectangular outlines"].severity, found["rectangular outlines"].count) == ("error", 8)
    assert found["category names"].count == 8


def test_averaged_rectangles_are_found_as_they_were_drawn(pictures):
    scan("tumor2146_small", pictures)
    found = by_check(audit("tumor2146_small"))["rectangular masks"]
    # Averaged, a box is two blocks high, and where its left edge is at 12 or 17 its corners are gone.
    assert (found.severity, found.count, found.total) == ("error", 8, 8)


def test_the_command(pictures, command):
    code, out, _ = command("data", "audit", "tumor2146", "--patients", pictures / "index.csv")
    assert code == 1
    assert max(map(len, out.splitlines())) <= 100
    assert "rectangular masks" in out
    assert "\ntumor2146, clean: unknown patients, identical images, " in out
    assert "\ntumor2146, could not be checked: copied channels, cut field of view." in out
    code, out, _ = command("data", "audit", "tumor2146", "--json")
    assert code == 1
    found = json.loads(out)
    assert found[0]["severity"] == "error"
    assert found[0].keys() == {"check", "severity", "count", "total", "examples", "sentence", "where"}
    assert {len(one["examples"]) for one in found} <= set(range(6))
    code, _, err = command("data", "audit", "tumor2146", "--split", "slice")
    assert (code, err.splitlines()[-1].count("--split slice: expected one of")) == (2, 1)


def test_the_command_on_a_clean_set(project, command):
    # Too few for the five folds that scan makes otherwise.
    scan("brats2018", write(dict(list(subjects().items())[:3])))
    code, out, _ = command("data", "audit", "brats2018")
    assert code == 0
    assert "brats2018, could not be checked: patients across a split." in " ".join(out.split())


def test_parts_of_the_checks():
    assert robust_z(np.array([1.0, 2, 3, 4, 100])).round(4).tolist() == [-1.349, -0.6745, 0, 0.6745, 65.4265]
    assert robust_z(np.array([5.0, 5, 5, 9])).tolist() == [0, 0, 0, 0]

    label = np.zeros((12, 12, 4), np.uint8)
    label[2:6, 2:9, 0] = 3
    label[2:6, 2:9, 1] = 3
    label[2, 2, 1] = 0
    label[1:3, 1:3, 2] = 1
    masked, boxes = rectangles(label)
    assert masked.tolist() == [True, True, True, False]
    # The second lacks a corner; the third is filled, but so small that chance may have made it.
    assert boxes.tolist() == [True, False, False, False]
    assert slice_dice(label, np.where(label == 3, 1, 0)) == [1.0, 1.0, 0.0]

    rng = np.random.default_rng(0)
    image = rng.normal(size=(64, 96, 3))
    small = image.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3)).reshape(-1, 3)
    made = thumbnails({"MR": image})
    assert (made @ made.T)[0, 1] == pytest.approx(np.corrcoef(small.T)[0, 1], abs=1e-5)

    whole = np.full((10, 10, 10), 5.0)
    half = whole.copy()
    half[:, :3] = 0
    found = lacking({"a": whole, "b": whole, "c": half}, {"a": 5, "b": 5, "c": 5})
    assert found == {"a": (0.0, (0, 0, 0)), "b": (0.0, (0, 0, 0)), "c": (pytest.approx(0.3), (0, 3, 0))}


def test_neighbours_in_a_set_too_large_for_every_pair(project, monkeypatch):
    scan("brats2018", write(subjects()))
    units = [f"Brats18_X_{n}_1/{z}" for n in range(6) for z in range(8)]
    split_by_slice([{"train": units[::2], "validation": [], "test": units[1::2]}])
    every = by_check(audit("brats2018"))["near-duplicates across a split (slice)"]
    monkeypatch.setattr("benchmark.data.audit.SEARCHED", 10)
    found = by_check(audit("brats2018"))["near-duplicates across a split (slice)"]
    assert "patient" not in found.sentence
    assert 0 < found.count <= every.count
    assert f"a training slice: {found.count} as one beside them in the same scan" in every.sentence


@pytest.mark.parametrize("spoil", ["categories", "category_id", "listed"])
def test_annotations_without_categories_are_reported(pictures, spoil):
    scan("tumor2146", pictures)
    for path in pictures.glob("*/_annotations.coco.json"):
        data = json.loads(path.read_text())
        if spoil == "categories":
            del data["categories"]
        for annotation in data["annotations"] if spoil != "categories" else ():
            annotation |= {"category_id": 99}
            if spoil == "category_id":
                del annotation["category_id"]
        path.write_text(json.dumps(data))
    scan("tumor2146", pictures, replace=True)
    found = by_check(audit("tumor2146"))["category names"].sentence
    assert ("no category" if spoil == "category_id" else "which is not listed") in found


def test_turned_pictures_and_images_without_background_are_named(pictures):
    exif = Image.Exif()
    exif[274] = 3
    path = sorted(pictures.glob("train/*.jpg"))[0]
    Image.fromarray(np.random.default_rng(1).integers(100, 200, (65, 65), np.uint8)).save(path, exif=exif)
    scan("tumor2146", pictures, replace=True)
    found = by_check(audit("tumor2146"))
    assert (found["turned pictures"].count, found["turned pictures"].severity) == (1, "warning")
    assert path.name in found["turned pictures"].examples[0]
    assert (found["no background"].count, found["no background"].severity) == (1, "warning")
