"""What runs inside a training child process."""
