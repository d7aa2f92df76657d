"""Keeping keys out of what the operating system writes of a process that died. Any thread."""

from __future__ import annotations

import sys


def forbid_core_dumps() -> None:
    """Have no image of this process's memory written when it dies: it would hold every key in the clear.

    What the interpreter was doing is still told by its fault file, which names lines and holds no values. Idempotent;
    children inherit it. Windows writes such images only where an administrator has asked for them.
    """
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
