"""API keys: where they are kept and how they are handed out; nothing in here shows or logs one."""
