"""Parts of training and inference that bundle configs name and that MONAI does not have."""
