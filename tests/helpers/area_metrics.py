"""Define DeepMind's surface metrics by area, to compare our surface elements with surface-distance and MONAI."""

from benchmark.scoring.metrics import NSD_TOLERANCE, Metric, hd95_area


def nsd_area(pair):
    """Normalised surface Dice (Nikolov et al., arXiv:1809.04430): share of both surfaces' area within 1 mm."""
    found = pair.element_distances
    near = found.there_area[found.there <= NSD_TOLERANCE].sum() + found.back_area[found.back <= NSD_TOLERANCE].sum()
    return float(near / (found.there_area.sum() + found.back_area.sum()))


AREA_METRICS = {
    metric.name: metric
    for metric in (
        Metric("hd95_area", "HD95 by area", "lower", "mm", "1", hd95_area, 0.0, "diagonal", "diagonal", "surfaces"),
        Metric("nsd_area", "NSD at 1 mm by area", "higher", "", "1", nsd_area, 1.0, 0.0, 0.0, "surfaces"),
    )
}
