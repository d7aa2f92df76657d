"""Market data: collection, storage, quality."""
