"""Learning: features, forecasters, evaluation, storage, inference. No Qt; torch only in child processes."""
