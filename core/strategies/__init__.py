"""Strategy kinds."""
