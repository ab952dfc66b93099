"""`streamfx` with a disk or a clock that misbehaves: `python faulty_run.py FAULT SEED run config.yaml`.

FAULT is `eio` (one call in 40 fails with EIO), `enospc` (likewise with ENOSPC), `slow` (each call takes up to 50 ms),
`clock`
(the wall clock jumps by up to a month each time it is read), or `spin` (the decoder never returns from the chunk that
starts at the event time SEED, UTC microseconds). Disk faults hit only the calls of the commit protocol.
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
    """Wrap a call with the fault; half of the failures come after the call was carried out, as with a lost reply."""

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
    """Make the decoder spin at one chunk, and let the watchdog wait for 2 s of CPU instead of minutes."""
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
    """Install the fault, then run `streamfx`."""
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
