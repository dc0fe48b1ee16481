"""Reproducible comparison of brain tumour segmentation models that are MONAI bundles."""

__version__ = "0.1.0"
