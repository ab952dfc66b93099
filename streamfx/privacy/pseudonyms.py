"""Pseudonyms of streams and tracks: keyed digests that change with the salt period."""

from __future__ import annotations

import hashlib
import hmac

from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.privacy.key import KEY_BYTES_MIN

_PSEUDONYM_HEX = 32
_PERIODS_MAX = 100_000


class Pseudonyms:
    """The names of one key. `salt_period_s` is in seconds of event time; 0: they never change.

    PrivacyRefusal for a key that is too short.
    """

    def __init__(self, salt_period_s: int, key: bytes):
        if len(key) < KEY_BYTES_MIN:
            raise PrivacyRefusal(
                f"the pseudonym key has {len(key)} bytes; at least {KEY_BYTES_MIN} are needed. Make one with "
                "`head -c 32 /dev/urandom | base64 > FILE` and keep it outside the dataset"
            )
        self._salt_period_s = salt_period_s
        self._key = key

    def salt_period(self, time_us: int) -> int:
        """Number of the salt period that an event time (UTC microseconds) lies in; 0 throughout without rotation."""
        period_s = self._salt_period_s
        return time_us // (period_s * 1_000_000) if period_s else 0

    def salt_periods(self, start_us: int, end_us: int) -> range:
        """The salt periods of the event times in `[start_us, end_us]`, UTC microseconds.

        ConfigError for more than 100,000 of them: nobody asks for that many on purpose.
        """
        periods = range(self.salt_period(start_us), self.salt_period(end_us) + 1)
        if len(periods) > _PERIODS_MAX:
            raise ConfigError(
                f"the range of event time has {len(periods):,} salt periods (privacy.salt_period_s), more than "
                f"{_PERIODS_MAX:,}; give a shorter one"
            )
        return periods

    def stream_pseudonym(self, stream_id: str, salt_period: int) -> str:
        """HMAC-SHA256(key, raw id, salt period), 32 hex digits: unlinkable between salt periods without the key."""
        return self._hmac("stream", stream_id, salt_period)

    def stream_pseudonyms(self, stream_id: str, start_us: int, end_us: int) -> set[str]:
        """All names that a stream has at event times in `[start_us, end_us]`, UTC microseconds."""
        return {self.stream_pseudonym(stream_id, period) for period in self.salt_periods(start_us, end_us)}

    def track_pseudonym(self, stream_id: str, birth_us: int, birth_index: int, salt_period: int) -> str:
        """HMAC-SHA256 of stream, birth time, index among those born in that frame, and salt period; 32 hex digits."""
        return self._hmac("track", stream_id, birth_us, birth_index, salt_period)

    def drawn_seed(self, stream_id: str, birth_us: int, birth_index: int, time_us: int) -> int:
        """Who is drawn in place of a face in a film at an event time (UTC microseconds): 64 bits, by stream, birth of the
        track and salt period. No track's pseudonym leads to it."""
        return int(self._hmac("drawn", stream_id, birth_us, birth_index, self.salt_period(time_us))[:16], 16)

    @property
    def key_digest(self) -> str:
        """32 hex digits by which a dataset knows its key again, and which lead to no other name."""
        return self._hmac("key")

    def audit_digest(self, stream_id: str) -> str:
        """What the audit log calls a stream: always the same 32 hex digits, in no row, and no way to the id without the
        key."""
        return self._hmac("audit", stream_id)

    def _hmac(self, *parts: object) -> str:
        message = b"\0".join(str(part).encode() for part in parts)
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_PSEUDONYM_HEX]
