"""Hold what every room shares: records, files, project folders and progress."""
