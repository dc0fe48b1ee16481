"""Set what papers print beside our numbers, and derive what it implies."""

from benchmark import report as _report  # noqa: F401 - report still imports from here, and has to come first
