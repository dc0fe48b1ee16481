"""Score tables to what they show: summaries, paired comparisons, equivalence, power, ranks and the part of seeds."""

from benchmark.patients import patient_means, patient_values, shared_patients, with_models
from benchmark.stats.compare import COMPARISON_COLUMNS, compare, declared_pairs
from benchmark.stats.intervals import BOOTSTRAP_SEED, CONFIDENCE, RESAMPLES, mean_interval
from benchmark.stats.paired import TESTS, cohen_dz, paired_t, permutation, rank_biserial, wilcoxon
from benchmark.stats.ranking import friedman
from benchmark.stats.summary import summarise

__all__ = [
    "BOOTSTRAP_SEED",
    "COMPARISON_COLUMNS",
    "CONFIDENCE",
    "RESAMPLES",
    "TESTS",
    "cohen_dz",
    "compare",
    "declared_pairs",
    "friedman",
    "mean_interval",
    "paired_t",
    "patient_means",
    "patient_values",
    "permutation",
    "rank_biserial",
    "shared_patients",
    "summarise",
    "wilcoxon",
    "with_models",
]
