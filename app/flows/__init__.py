"""Qt-free state machines behind wizards and the order ticket."""
