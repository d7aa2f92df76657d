"""QThread workers."""
