"""The window in which the judged pass of an agent is replayed."""
