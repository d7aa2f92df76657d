"""Programs that run under the interpreter of `make bench-peers`; they import nothing of this project."""
