"""Turn a publisher's files into manifests, folds, prepared volumes and slices."""
