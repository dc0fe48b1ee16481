"""Publisher's files to manifests, folds, prepared volumes and slices."""
