"""`streamfx` with a disk or a clock that misbehaves: `python faulty_run.py FAULT SEED run config.yaml`.

FAULT is `eio` (a call in 40 fails with EIO), `enospc` (the same, no space), `slow` (each call takes up to 50 ms) or `clock`
(the wall clock jumps by up to a month with every look at it), or `spin` (the decoder never returns from the chunk that
starts at the event time SEED, UTC microseconds). Faults of the disk hit only the commit protocol's own calls.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from streamfx.sink.fs import LocalFileSystem

CALLS = ("mkdir", "write_new", "read", "listdir", "link", "remove", "sync_dir")
ONE_IN = 40
JUMP_S = 30 * 86_400


def faulty(call: Callable[..., Any], fault: str, chance: random.Random) -> Callable[..., Any]:
    """The call as it is, or not: half of the failures come after it was done, as with a reply that is lost."""

    def instead(*arguments: Any) -> Any:
        if fault == "slow":
            time.sleep(chance.uniform(0, 0.05))
        elif chance.randrange(ONE_IN) == 0:
            number = errno.EIO if fault == "eio" else errno.ENOSPC
            if chance.random() < 0.5:
                call(*arguments)
            raise OSError(number, os.strerror(number), str(arguments[1]))
        return call(*arguments)

    return instead


def spin_at(start_us: int) -> None:
    """Make the decoder hang, busily, at one chunk; a worker then waits for 2 s of CPU and not for minutes."""
    from streamfx.media.decode import ChunkDecoder
    from streamfx.runtime import worker

    decode = ChunkDecoder.decode

    def instead(decoder: ChunkDecoder, body: bytes, at_us: int) -> Any:
        while at_us == start_us:
            hashlib.sha256(bytes(1 << 20))
        return decode(decoder, body, at_us)

    ChunkDecoder.decode = instead  # type: ignore[method-assign]
    worker.STUCK_CPU_S = 2.0


def main() -> None:
    """Break what was asked for, then be `streamfx`."""
    fault, seed = sys.argv[1:3]
    chance = random.Random(seed)
    if fault == "spin":
        spin_at(int(seed))
    elif fault == "clock":
        right = time.time
        time.time = lambda: right() + chance.uniform(-JUMP_S, JUMP_S)
    else:
        for name in CALLS:
            setattr(LocalFileSystem, name, faulty(getattr(LocalFileSystem, name), fault, chance))
    from streamfx.cli.main import main as streamfx

    sys.argv[1:] = sys.argv[3:]
    streamfx()


if __name__ == "__main__":
    main()
