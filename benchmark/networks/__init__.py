"""Define the networks that bundle configs name and MONAI lacks, one per module."""
