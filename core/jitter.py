"""The chance in pauses: drawn anew by every process, so that those cut together do not all come back together.

Any thread; a source belongs to one loop.
"""

from __future__ import annotations

import logging
import random
import secrets

_log = logging.getLogger(__name__)


def new_jitter(seed: int | None = None) -> random.Random:
    """Return a source for pauses.

    Args:
        seed: for tests that must repeat themselves; None draws one from the system, which the log keeps.
    """
    if seed is None:
        seed = secrets.randbits(64)
        _log.debug("pauses are drawn with seed %d", seed)
    return random.Random(seed)
