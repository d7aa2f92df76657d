"""What must happen between importing PySide6 and everything else. Main thread."""

from __future__ import annotations

import sys
from typing import Any

SWITCH_INTERVAL_S = 0.001


def prepare_process() -> None:
    """Set the interpreter up for a window; before the many imports of the program, which both parts concern.

    The window's thread gives up the interpreter at every call into Qt. Where worker threads load libraries or decode
    messages meanwhile, each of them keeps it for a whole interval; with Python's own 5 ms a burst of small calls
    became the longest stall of the start.
    """
    _skip_feature_scan()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _skip_feature_scan() -> None:
    """Stop PySide6 from reading the source text of every module imported after it.

    It looks for the word "PySide6" to support `from __feature__ import …`, which this program never uses. The scan
    makes up a third of the time of large imports on worker threads and holds up the window meanwhile.
    """
    import PySide6.QtCore  # noqa: F401 - loads the scan

    feature = sys.modules.get("shibokensupport.feature")
    if feature is not None and hasattr(feature, "_mod_uses_pyside"):

        def ignore(_module: Any) -> bool:
            return False

        setattr(feature, "_mod_uses_pyside", ignore)  # noqa: B010 - unknown to type checkers
