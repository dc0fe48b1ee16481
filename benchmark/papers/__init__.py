"""Set what papers print beside our numbers, and derive what it implies."""
