"""Read one publisher's layout per module: list the cases of a folder (the phantom's generates the folder)."""
