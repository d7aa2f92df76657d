"""The page of one stored model."""
