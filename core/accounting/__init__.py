"""The accounting kernel: what a position earns and costs from bar to bar. Pure functions, any thread."""
