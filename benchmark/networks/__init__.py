"""Networks that MONAI does not have, one a module, named by bundle configs."""
