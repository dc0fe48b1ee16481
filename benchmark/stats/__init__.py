"""Analyse score tables: summaries, paired comparisons, equivalence, power, ranks, and what seeds contribute."""

from benchmark.stats.compare import (
    COMPARISON_COLUMNS,
    METHOD_COLUMNS,
    compare,
    compare_methods,
    declared_pairs,
    paired_spreads,
)
from benchmark.stats.intervals import BOOTSTRAP_SEED, CONFIDENCE, mean_interval
from benchmark.stats.paired import (
    TESTS,
    cohen_dz,
    holm_one_sided,
    paired_differences,
    permutation,
    rank_biserial,
    tost,
    wilcoxon,
)
from benchmark.stats.patients import patient_means, patient_table, shared_patients, summarise, with_models
from benchmark.stats.power import method_sample_size, methods_needed, patients_needed, sample_size
from benchmark.stats.ranking import (
    RANKING_COLUMNS,
    critical_difference,
    friedman,
    nemenyi,
    patient_ranks,
    rank_models,
)
from benchmark.stats.seeds import TWO_LEVEL

__all__ = [
    "BOOTSTRAP_SEED",
    "COMPARISON_COLUMNS",
    "CONFIDENCE",
    "METHOD_COLUMNS",
    "RANKING_COLUMNS",
    "TESTS",
    "TWO_LEVEL",
    "cohen_dz",
    "compare",
    "compare_methods",
    "critical_difference",
    "declared_pairs",
    "friedman",
    "holm_one_sided",
    "mean_interval",
    "method_sample_size",
    "methods_needed",
    "nemenyi",
    "paired_differences",
    "paired_spreads",
    "patient_means",
    "patient_ranks",
    "patient_table",
    "patients_needed",
    "permutation",
    "rank_biserial",
    "rank_models",
    "sample_size",
    "shared_patients",
    "summarise",
    "tost",
    "wilcoxon",
    "with_models",
]
