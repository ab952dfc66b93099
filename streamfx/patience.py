"""Repeat a call that fails for the moment, with growing pauses, for a bounded time or for as long as it takes."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
"""Seconds before the first repeat; doubled with each further one."""
LONGEST_PAUSE_S = 15.0
"""Most seconds between two tries."""
_Result = TypeVar("_Result")


def outlast(
    call: Callable[[], _Result],
    passing: type[Exception],
    retry_s: float = math.inf,
    pause: Callable[[float], None] = time.sleep,
) -> _Result:
    """The result of `call`, which is repeated while it raises `passing`. After `retry_s` seconds the last such error is
    raised.

    `pause` is called to wait a number of seconds. The log says once that waiting begins, and once that the call
    succeeded.
    """
    began, pause_s, waited = time.monotonic(), FIRST_PAUSE_S, False
    while True:
        try:
            result = call()
        except passing as error:
            left_s = retry_s - (time.monotonic() - began)
            if left_s <= 0:
                raise
            if not waited:
                log.warning("%s; trying again%s", error, "" if math.isinf(retry_s) else f" for up to {retry_s:.0f} s")
            waited = True
        else:
            if waited:
                log.warning("that works again, after %.0f s", time.monotonic() - began)
            return result
        pause(min(pause_s * random.uniform(0.75, 1.25), left_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
