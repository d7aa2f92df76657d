"""Independent random streams of one seed. Pure values, any thread; numpy only.

One number seeds a whole run of an agent. Generators that are given the same number draw the same: what happens in the
markets would go with how the agent explores. `numpy.random.SeedSequence` makes of the number as many that have nothing
to do with each other, nor with those of the next seed.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np


class Streams(NamedTuple):
    """What a seed becomes.

    Attributes:
        environment: where episodes begin, with which position and costs.
        networks: the first weights.
        exploration: the actions that are tried.
        samples: what is learned from next: the order of mini-batches, or which decisions are remembered.
    """

    environment: int
    networks: int
    exploration: int
    samples: int

    @classmethod
    def of(cls, seed: int) -> Self:
        """Return the seeds of all streams, each of 64 bits."""
        children = np.random.SeedSequence(seed).spawn(len(cls._fields))
        return cls(*(int(child.generate_state(1, np.uint64)[0]) for child in children))
