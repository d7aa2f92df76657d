"""Reports about what was traded."""
