"""Pictures of every window, dock, dialog and wizard page, for tests and for whoever reviews the look."""
