"""Two masks to what other libraries say of them, each by its own definition; keys are the metrics of ours it defines.

Masks are boolean and neither is empty, unless said; ``spacing`` is in mm. Panoptica's releases pin older numpy, pandas,
rich and connected-components-3d than this project is tested with, so it is asked only in an environment of its own
(``tox -e panoptica``); elsewhere tests read what it said there (``panoptica_table``).
"""

import warnings
from functools import partial

import numpy as np
import surface_distance
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from monai.metrics.meandice import compute_dice
from scipy import ndimage
from sklearn import metrics as sklearn_metrics

CONFUSION = {name: name.replace("_", " ") for name in
             ("sensitivity", "specificity", "precision", "accuracy", "balanced_accuracy")}  # fmt: skip


def sklearn_overlap(truth, guess):
    flat = truth.ravel(), guess.ravel()
    return {
        "dice": sklearn_metrics.f1_score(*flat),
        "iou": sklearn_metrics.jaccard_score(*flat),
        "sensitivity": sklearn_metrics.recall_score(*flat),
        "specificity": sklearn_metrics.recall_score(*flat, pos_label=False),
        "precision": sklearn_metrics.precision_score(*flat),
        "accuracy": sklearn_metrics.accuracy_score(*flat),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(*flat),
    }


def monai_tensors(truth, guess):
    """Prediction and reference as MONAI takes them, of shape (1, 1, ...)."""
    return tuple(torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (guess, truth))


def monai_overlap(guess, truth):
    """Of tensors of shape (1, regions, ...); values have an entry for each region."""
    matrix = get_confusion_matrix(guess.float(), truth.float())
    found = {name: compute_confusion_matrix_metric(theirs, matrix)[0] for name, theirs in CONFUSION.items()}
    return found | {"dice": compute_dice(guess, truth)[0], "iou": compute_iou(guess, truth)[0]}


def monai_nsd(guess, truth, **settings):
    return compute_surface_dice(guess, truth, class_thresholds=[1.0] * guess.shape[1], **settings)


MONAI_SURFACE = {
    "hd95": partial(compute_hausdorff_distance, percentile=95),
    "hd100": compute_hausdorff_distance,
    "assd": partial(compute_average_surface_distance, symmetric=True),
    "nsd": monai_nsd,
}


def monai_surface(guess, truth, spacing):
    """As ``monai_overlap``."""
    settings = {"include_background": True, "spacing": spacing}
    return {name: function(guess, truth, **settings)[0] for name, function in MONAI_SURFACE.items()}


def monai_subvoxels(guess, truth, spacing):
    """NSD of surface elements, as ``monai_overlap``."""
    tolerance = [1.0] * guess.shape[1]
    value = compute_surface_dice(guess, truth, tolerance, include_background=True, spacing=spacing, use_subvoxels=True)
    return {"nsd_area": value[0]}


def deepmind(truth, guess, spacing):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = surface_distance.compute_surface_distances(truth, guess, spacing)
    return {
        "hd95_area": surface_distance.compute_robust_hausdorff(found, 95),
        "nsd_area": surface_distance.compute_surface_dice_at_tolerance(found, 1.0),
    }


def brats_2023(truth, guess, spacing, dilations=3, smallest=50):
    """The published rule word by word: every lesion on the whole volume, its distances by surface-distance.

    Either mask may be empty. The numbers are by default those for glioma.
    """
    structure, neighbours = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    wide = ndimage.binary_dilation(truth, structure, dilations) if truth.any() else truth
    joined, lesions = ndimage.label(wide, neighbours)
    components, predicted = ndimage.label(guess, neighbours)
    dice, hd95, missed, matched = [], [], 0, set()
    for number in range(1, lesions + 1):
        lesion = truth & (joined == number)
        near = np.unique(components[ndimage.binary_dilation(lesion, structure, dilations)])
        near = near[near > 0]
        matched |= set(near.tolist())
        if lesion.sum() * np.prod(spacing) <= smallest:
            continue
        found = np.isin(components, near)
        dice.append(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))
        hd95.append(deepmind(lesion, found, spacing)["hd95_area"] if near.size else 374.0)
        missed += not near.size
    extra = predicted - len(matched)
    every = len(dice) + extra
    return {
        "lesion_dice": sum(dice) / every if every else 1.0,
        "lesion_hd95": (sum(hd95) + 374.0 * extra) / every if every else 0.0,
        "lesion_tp": len(dice) - missed,
        "lesion_fp": extra,
        "lesion_fn": missed,
    }


def panoptica_evaluator():
    """The organisers' configuration for glioma, BraTS_evaluation 0.0.10, for one mask; None without panoptica."""
    try:
        from panoptica import ConnectedComponentsInstanceApproximator, InputType, Panoptica_Evaluator, instance_matcher
        from panoptica.metrics import Metric
        from panoptica.utils import edge_case_handling as edges
    except ImportError:
        return None
    none, zero, infinity = edges.EdgeCaseResult.NAN, edges.EdgeCaseResult.ZERO, edges.EdgeCaseResult.INF
    worst = {Metric.DSC: zero, Metric.NSD: zero, Metric.HD95: infinity}
    rules = {
        metric: edges.MetricZeroTPEdgeCaseHandling(no_instances_result=none, default_result=value)
        for metric, value in worst.items()
    }
    return Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=instance_matcher.MaxBipartiteMatching(Metric.DSC, matching_threshold=1e-6),
        edge_case_handler=edges.EdgeCaseHandler(rules),
        instance_metrics=list(worst),
        global_metrics=list(worst),
    )


def panoptica(evaluator, truth, guess, spacing):
    """Its evaluator takes distances over the whole image in voxels whatever the spacing; its function does not.

    Either mask may be empty: what the evaluator leaves out is NaN then, and a distance to nothing infinite.
    """
    from panoptica.metrics.hausdorff_distance import _compute_hausdorff_distance95

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masks = (mask.astype(np.uint8) for mask in (guess, truth))
        found = evaluator.evaluate(*masks, voxelspacing=spacing, verbose=False)["ungrouped"]
        return {
            "dice": found.global_bin_dsc,
            "hd95_pooled": _compute_hausdorff_distance95(truth, guess, spacing)
            if truth.any() and guess.any()
            else found.global_bin_hd95,
            "lesion_pq": found.pq_dsc,
            "instance_tp": found.tp,
            "instance_fp": found.fp,
            "instance_fn": found.fn,
        }
