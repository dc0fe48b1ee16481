"""Provide the parts of training and inference that bundle configs name and MONAI lacks."""
