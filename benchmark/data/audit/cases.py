"""Check the measured cases of a set: pixels, masks, channels, intensities and geometry."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.base.records import Case, number_of
from benchmark.data.audit.measures import CaseFacts, Finding, robust_z
from benchmark.data.manifest import CaseList, Manifest

FAR = 3.5
"""Robust z from which a case's intensities are unusual (the customary limit of Iglewicz and Hoaglin)."""

CUT, CUT_WHOLLY = 0.1, 0.02
"""Share of the tissue in all other modalities from which a modality that is zero there counts as cut; the second holds
where it lacks whole planes. Pictures whose dark pixels were clipped to zero lack up to 0.07 without being cut."""

BOXED = 0.05
"""Share of masks that are rectangles from which this is no chance shape."""


def audit_cases(listed: CaseList, facts: Sequence[CaseFacts]) -> list[Finding]:
    """Check the cases of one set, without its splits."""
    return [
        unknown_patients(facts),
        identical_images(facts),
        identical_masks(facts),
        rectangular_masks(facts),
        copied_channels(facts),
        *odd_images(facts),
        *label_findings(listed),
        always_tumour(facts if listed.labelled else ()),
        *geometry(listed.cases, facts),
        *intensities(facts),
        cut_field_of_view(facts),
    ]


def finding(
    check: str, severity: str, hits: Iterable[str], total: int, sentence: str, where: str = "", more: str | None = None
) -> Finding:
    """Make a finding whose hits are ids; without one it is "clean", and without anything to look at "not checked".

    Where ``more`` is given, the sentence goes on with it if there are hits, and ends there if not.
    """
    found = list(hits)
    reached = severity if found else "clean" if total else "not checked"
    whole = sentence if more is None else f"{sentence}{more if found else ''}."
    return Finding(check, reached, len(found), total, tuple(found[:5]), whole, where)


def unknown_patients(facts: Sequence[CaseFacts]) -> Finding:
    """Find cases whose patient is not known."""
    hits = [case.case_id for case in facts if not case.patient_known]
    sentence = f"The patient is not known for {len(hits)} of {len(facts)} cases"
    more = ": each counts as a patient, so no split of this set is by patient"
    return finding("unknown patients", "warning", hits, len(facts), sentence, more=more)


def identical_images(facts: Sequence[CaseFacts]) -> Finding:
    """Find slices that show the same pixels in all modalities."""
    owners: dict[bytes, list[tuple[CaseFacts, int]]] = defaultdict(list)
    for case in facts:
        for z, digest in enumerate(case.pictures):
            if digest:
                owners[digest].append((case, z))
    total = sum(len(units) for units in owners.values())
    groups = [units for units in owners.values() if len(units) > 1]
    hits = [f"{case.case_id}/{z}" for units in groups for case, z in units]
    patients = sum(len({case.patient_id for case, _ in units}) > 1 for units in groups)
    span = f"{patients} of these groups hold several patients"
    if any(not case.patient_known for case in facts):
        span = "whether they hold several patients is not known"
    many = number_of(len(groups), "group")
    sentence = f"{len(hits)} of {total} slices have the same pixels as another slice, in {many}; {span}."
    return finding("identical images", "warning", hits, total, sentence)


def identical_masks(facts: Sequence[CaseFacts]) -> Finding:
    """Find cases whose label map is that of another case."""
    masked = [case for case in facts if case.mask_digest]
    count = Counter(case.mask_digest for case in masked)
    hits = [case.case_id for case in masked if count[case.mask_digest] > 1]
    sentence = f"{len(hits)} of {len(masked)} label maps equal that of another case, voxel for voxel."
    return finding("identical label maps", "warning", hits, len(masked), sentence)


def rectangular_masks(facts: Sequence[CaseFacts]) -> Finding:
    """Find slices on which every labelled part fills its bounding box."""
    total = sum(int(case.masked.sum()) for case in facts)
    hits = [f"{case.case_id}/{z}" for case in facts for z in np.flatnonzero(case.boxes)]
    some = len(hits) >= BOXED * total
    severity = "error" if 2 * len(hits) >= total else "warning" if some else "clean"
    sentence = f"As published, {len(hits)} of {total} masks (slices with a label) are filled axis-aligned rectangles"
    sentence += ": scores measure agreement with boxes, not with outlines." if some and hits else "."
    return finding("rectangular masks", severity, hits, total, sentence)


def copied_channels(facts: Sequence[CaseFacts]) -> Finding:
    """Find cases in which two modalities hold the same pixels on every slice that shows something."""
    several = [case for case in facts if len(case.digests) > 1]
    copies = {case.case_id: _copies(case) for case in several}
    hits = [f"{case} ({', '.join(groups)})" for case, groups in copies.items() if groups]
    counts = Counter(group for groups in copies.values() for group in groups)
    which = ", ".join(f"{group} in {count}" for group, count in counts.most_common())
    sentence = f"In {len(hits)} of {len(several)} cases channels are copies of each other"
    return finding("copied channels", "warning", hits, len(several), sentence, more=f": {which}")


def odd_images(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Find modalities with one value all over, images without a voxel that is exactly 0, which preparation takes for
    background, and pictures that an EXIF tag turns, which other programs may read as they are stored."""
    n = len(facts)
    empty = [f"{case.case_id} ({m})" for case in facts for m, slices in case.digests.items() if not any(slices)]
    full = [f"{case.case_id} ({', '.join(case.full)})" for case in facts if case.full]
    turned = [f"{case.case_id} ({name})" for case in facts for name in case.turned]
    without = f"{len(full)} of {n} cases have images without a voxel that is exactly 0"
    air = ": air counts as brain where they are normalised and cropped"
    by_tag = f"{len(turned)} pictures are turned or mirrored by an EXIF tag"
    obeyed = ", which is obeyed here: check that their masks were drawn so, too"
    return [
        finding("empty channels", "warning", empty, n, f"{len(empty)} channels of {n} cases have one value all over."),
        finding("no background", "warning", full, n, without, more=air),
        finding("turned pictures", "warning", turned, n, by_tag, more=obeyed),
    ]


def label_findings(listed: CaseList) -> list[Finding]:
    """Report cases without a label, regions that are empty, and how often each label value is there."""
    manifest, labelled = listed.manifest, [case for case in listed.cases if case.label]
    empty = [case.case_id for case in labelled if not voxels_of(case, manifest.labels.keys() - {"0"})]
    total = len(labelled)
    found = [finding("empty masks", "note", empty, total, f"{len(empty)} of {total} cases have an empty mask.")]
    for region, values in manifest.regions.items():
        lacking = [case.case_id for case in labelled if not voxels_of(case, map(str, values))]
        where = f"in {len(lacking)} of {total} cases"
        sentence = f"Region {region} is empty {where}: the rule for empty masks decides there."
        found.append(finding("empty regions", "note", lacking, total, sentence, region))
    return [*found, _label_values(manifest, labelled)]


def always_tumour(facts: Sequence[CaseFacts]) -> Finding:
    """Ask whether there are slices without a label, which a classifier of tumour against no tumour needs."""
    total = sum(len(case.masked) for case in facts)
    masked = sum(int(case.masked.sum()) for case in facts)
    severity, sentence = "clean", f"{total - masked} of {total} slices show no tumour."
    if not total:
        severity, sentence = "not checked", "No label says whether a slice shows a tumour."
    elif masked == total:
        severity = "warning"
        sentence = f"All {total} slices show a tumour: no classifier of tumour or none can be trained or tested."
    return Finding("every picture a tumour", severity, masked, total, (), sentence)


def geometry(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> list[Finding]:
    """Find cases whose spacing, orientation or shape is not the set's usual one."""
    orientations = {case.case_id: case.orientation for case in facts}
    found = [
        _unusual("spacing", {case.case_id: " x ".join(f"{size:g}" for size in case.spacing) for case in cases}, "mm"),
        _unusual("orientation", orientations, ""),
    ]
    for axis, name in enumerate(("first", "second", "third")):
        sizes = {case.case_id: str(case.shape[axis]) for case in cases}
        found.append(_unusual("shape", sizes, f"voxels along the {name} axis", f"{name} axis"))
    return found


def intensities(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Find images with values far from the set's, negative ones, and many at the maximum."""
    images = [(case.case_id, modality, value) for case in facts for modality, value in case.intensities.items()]
    below = [f"{case} ({m}: {value.lowest:g})" for case, m, value in images if value.lowest < 0]
    high = [(case, m, value) for case, m, value in images if value.at_highest >= 0.005]
    flat = [f"{case} ({m}: {value.at_highest:.1%} at {value.highest:g})" for case, m, value in high]
    n = len(images)
    saturated = f"{len(flat)} of {n} images have 0.5 % or more of values at the maximum."
    return [
        _far(facts),
        finding("negative intensities", "note", below, n, f"{len(below)} of {n} images have negative values."),
        finding("saturation", "note", flat, n, saturated),
    ]


def cut_field_of_view(facts: Sequence[CaseFacts]) -> Finding:
    """Find modalities that are zero over CUT of the tissue that all others of the case show."""
    hits, worst, total = [], (0.0, ""), 0
    for case in facts:
        for modality, (share, planes) in case.lacks.items():
            total += 1
            if share >= (CUT_WHOLLY if any(planes) else CUT):
                of_axis = zip(planes, ("sagittal", "coronal", "axial"), strict=True)
                at = " and ".join(f"all of {n} {axis} planes" for n, axis in of_axis if n)
                hits.append(f"{case.case_id} ({modality}: {share:.1%})")
                text = f"{modality} of {case.case_id} lacks {share:.1%} of it" + (f", {at}" if at else "")
                worst = max(worst, (share, text))
    sentence = (
        f"{len(hits)} of {total} images are zero on {CUT:.0%} or more of the tissue that all others of the case show, "
        f"or on {CUT_WHOLLY:.0%} and whole planes"
    )
    return finding("cut field of view", "warning", hits, total, sentence, more=f"; {worst[1]}")


def _far(facts: Sequence[CaseFacts]) -> Finding:
    """Compare the 99.9th percentile of each case with the set's median, on a log scale: scanners differ by factors."""
    hits, total = [], 0
    for modality in facts[0].digests if facts else ():
        shown = [case for case in facts if modality in case.intensities]
        values = [case.intensities[modality] for case in shown]
        if not values:
            continue
        high = np.log(np.maximum([value.high for value in values], 1e-6))
        away = high - np.median(high)
        total += len(values)
        # A set of equal maxima has next to no spread; twice the usual is the least that is called unusual.
        far = (np.abs(robust_z(high)) > FAR) & (np.abs(away) > np.log(2))
        # Eight bits are filled as a rule, sixteen only by what is wrong.
        near_limit = [value.limit > 255 and value.highest > 0.95 * value.limit for value in values]
        hits += [(values[i], away[i], shown[i].case_id, modality) for i in map(int, np.flatnonzero(far | near_limit))]
    hits.sort(key=lambda hit: (-abs(hit[1]), hit[2]))
    texts = [f"{case} ({m}: up to {value.highest:g}, {np.exp(away):.2g}x)" for value, away, case, m in hits]
    sentence = (
        f"{len(hits)} of {total} images, of {len({hit[2] for hit in hits})} cases, are unusually bright or dark for "
        f"their modality: a 99.9th percentile beyond robust z {FAR} (log scale) and a factor of 2, or a maximum at "
        "the limit of the stored type"
    )
    highest = max(hits, key=lambda hit: hit[0].highest, default=None)
    more = f"; {highest[2]} reaches {highest[0].highest:g} in {highest[3]}" if highest else ""
    return finding("unusual intensities", "warning", texts, total, sentence, more=more)


def _unusual(check: str, values: dict[str, str], unit: str, where: str = "") -> Finding:
    """Name the cases without the most frequent value; where that is not the value of most, say that there is none."""
    counts = Counter(values.values()).most_common()
    usual, count = counts[0]
    of, unit = (f" of {unit}", f" {unit}") if unit else ("", "")
    if 2 * count <= len(values) and len(counts) > 1:
        sentence = f"There is no usual value{of}: {len(values)} cases have {len(counts)} different ones."
        return Finding(check, "note", len(counts), len(values), (), sentence, where)
    hits = [f"{case} ({value})" for case, value in values.items() if value != usual]
    sentence = f"{len(hits)} of {len(values)} cases differ from the usual {usual}{unit}."
    return finding(check, "warning", hits, len(values), sentence, where)


def _label_values(manifest: Manifest, labelled: Sequence[Case]) -> Finding:
    parts = []
    for value, meaning in manifest.labels.items():
        cases = sum(case.voxels.get(value, 0) > 0 for case in labelled)
        voxels = sum(case.voxels.get(value, 0) for case in labelled)
        parts.append(f"{value} ({meaning}) in {cases} cases, {voxels} voxels")
    unused = [value for value in manifest.labels if not any(case.voxels.get(value) for case in labelled)]
    severity = "warning" if unused and labelled else "note"
    return Finding(
        "label values", severity, len(unused), len(manifest.labels), tuple(unused), "Labels: " + "; ".join(parts) + "."
    )


def _copies(case: CaseFacts) -> list[str]:
    """Name the groups of modalities that have the same digests."""
    groups: dict[tuple[bytes | None, ...], list[str]] = defaultdict(list)
    for modality, digests in case.digests.items():
        if any(digests):
            groups[tuple(digests)].append(modality)
    return [" = ".join(group) for group in groups.values() if len(group) > 1]


def voxels_of(case: Case, values: Iterable[str]) -> int:
    """Count the voxels of a case's label map that have one of these values."""
    return sum(case.voxels.get(value, 0) for value in values)
