"""Say what limits the trust in tests on other sets: patients of both, voxels of another size, runs that lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmark.base.records import patient_known
from benchmark.data.manifest import CaseList, load_cases

if TYPE_CHECKING:
    from benchmark.results.results import Results


def cautions(results: Results) -> list[str]:
    """Sentences on the other tests that a study declares."""
    found = []
    for test in results.study.other_tests:
        if test.name not in results.other_scores:
            found.append(f"Not tested on {test.name} yet: pending: test_on.")
            continue
        runs, tested = (
            table[["bundle", "variant", "fold", "seed"]].drop_duplicates()
            for table in (results.every, results.other_scores[test.name])
        )
        if len(tested) < len(runs):
            found.append(f"{len(runs) - len(tested)} of {len(runs)} runs with scores were not tested on {test.name}.")
        if test.data:
            found += _of_set(results.cases, load_cases(test.data))
    return found


def shared_patients(own: CaseList, other: CaseList) -> tuple[list[str], list[str]]:
    """Patients of ``other`` that are in ``own`` too, by the same known id, and by the same bytes of a file."""
    known = [
        {case.patient_id for case in one.cases if patient_known(one.manifest.source, case.case_id, case.patient_id)}
        for one in (own, other)
    ]
    ours = {digest for case in own.cases for digest in case.sha256.values()}
    by_file = {case.patient_id for case in other.cases if ours & set(case.sha256.values())}
    return sorted(known[0] & known[1]), sorted(by_file)


def _of_set(own: CaseList, other: CaseList) -> list[str]:
    found = []
    by_id, by_file = shared_patients(own, other)
    if both := sorted({*by_id, *by_file}):
        found.append(
            f"LEAK: {len(both)} of {len(other.patients)} patients of {other.name} seem to be in {own.name} too "
            f"({len(by_id)} by the same id, {len(by_file)} by the same file), such as {both[0]}: "
            "networks may have been trained on them, and the two samples of patients are not independent."
        )
    sizes = [np.median([case.spacing for case in one.cases if case.spacing], axis=0) for one in (own, other)]
    if np.shape(sizes[0]) != np.shape(sizes[1]) or not np.allclose(sizes[0], sizes[1], rtol=0.1):
        words = [" x ".join(f"{side:.3g}" for side in size) for size in sizes]
        found.append(
            f"A voxel is {words[0]} {own.manifest.unit} in {own.name} and {words[1]} in {other.name} (medians): "
            "nothing is resampled, so that the networks see tumours of another size in voxels."
        )
    return found
