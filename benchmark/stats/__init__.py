"""Analyse score tables: summaries, paired comparisons, equivalence, power, ranks, and what seeds contribute."""
