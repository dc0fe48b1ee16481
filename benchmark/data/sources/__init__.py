"""One module a publisher layout: a folder to a list of cases (or, for the phantom, a seed to a folder)."""
