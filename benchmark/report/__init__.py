"""Turn tables into pages, LaTeX and figures; this room knows no paper and never imports torch."""

from benchmark.report.figures import Panel
from benchmark.report.tables import headline_table

__all__ = ["Panel", "headline_table"]
