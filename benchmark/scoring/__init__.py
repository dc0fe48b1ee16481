"""Turn two label maps into scores."""
