"""Reads a live input and cuts it into pieces that start on a keyframe, with UTC times derived from their arrival."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av

from streamfx.errors import ConfigError, SourceError
from streamfx.media.chunk_writer import CLOCK_START_US, Group, write_chunk
from streamfx.media.copy_groups import copied_groups
from streamfx.media.cut_sound import SoundTrack
from streamfx.media.encode import encoded_groups, pictures_shown
from streamfx.media.keyframes import is_random_access
from streamfx.media.pixel_aspect import PixelAspect
from streamfx.media.sound import raw_samples
from streamfx.media.sound_track import SoundChoice, described, pick_sound, sound_tracks
from streamfx.media.tracks import VideoTrack, pick_video
from streamfx.media.video_file import REMUX_CODECS, microseconds
from streamfx.records import MICROSECONDS

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
"""Seconds without data after which an input counts as lost."""
JUMP_US = MICROSECONDS
"""Where decoding times jump ahead by more than this, or go back, the input was interrupted."""
MAX_LATE_US = 2 * MICROSECONDS
"""How far the input's clock may fall behind the wall clock before event time is anchored again."""
LONGEST_US = 10 * MICROSECONDS
"""Longest piece. Where keyframes are further apart, pictures are encoded."""
_SOUND_WAIT_US = MICROSECONDS
_SOUND_FRAMES = 4096
_WAITING_PICTURES = 256
# The protocols that FFmpeg may use for each scheme, so that a stream cannot make it open files or other addresses.
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsp,rtp,tcp,tls",
    "udp": "udp",
    "tcp": "tcp",
    "http": "http,tcp",
    "https": "https,tls,tcp",
}
_CONTAINERS = "mpegts,mpeg,matroska,webm,flv,mov,mp4,m4a,3gp,3g2,mj2"


class KeyframesTooRare(SourceError):
    """The input has too few keyframes to be cut without encoding; open it again with `encode=True`."""


@dataclass(frozen=True, slots=True)
class LivePiece:
    """What an input showed from `start_us` to `end_us` (UTC microseconds), as fragmented MP4.

    `joined` is True if it begins where the piece before it ended, on the same clock.
    """

    start_us: int
    end_us: int
    body: bytes = field(repr=False)
    joined: bool


def is_live(text: str) -> bool:
    """Whether a text names a live input (a URL of a known scheme, or a video device) rather than a file."""
    scheme, is_url, _ = text.partition("://")
    return scheme in _PROTOCOLS if is_url else text.startswith("/dev/video")


def check_url(url: str) -> None:
    """Raise ConfigError for a URL that cannot be opened, without repeating it, since it may contain a password."""
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None or parts.scheme not in ("tcp", "udp")
        readable = not parts.scheme or (parts.netloc != "" and parts.port != 0 and has_port)
    except ValueError:
        readable = False
    if not readable:
        raise ConfigError(
            "the live input's URL cannot be read; expected one such as rtsp://user:password@host:554/path (tcp and "
            "udp need a port), with %23, %2F, %3F and %40 for a #, /, ? or @ in the password"
        )


def waits_for_sender(url: str) -> bool:
    """Whether a live input is a port on which we wait for a sender, rather than a server or device to connect to."""
    parts = urlsplit(url)
    return parts.scheme == "udp" or "listen" in parse_qs(parts.query)


def shown(url: str) -> str:
    """The part of a URL that may be logged: scheme, host and port. Paths and queries may contain passwords."""
    parts = urlsplit(url)
    if not parts.scheme:
        return url
    # An @ after the host may belong to a login whose password contains / or #; the apparent host is then part of it.
    hidden = "@" in url and "@" not in parts.netloc
    return f"{parts.scheme}://{'…' if hidden else parts.netloc.rpartition('@')[2]}"


class LiveInput:
    """One connection to a live input, to be used once and by one thread.

    Event time starts from the picture of the first piece that had the least delay: the first picture gets the time at
    which it would have arrived with that delay, so that FFmpeg's buffering at the start does not count. From then on,
    event time follows the input's clock.
    """

    def __init__(
        self,
        url: str,
        chunk_us: int,
        max_bytes: int,
        stopped: Callable[[], bool],
        *,
        encode: bool = False,
        track: VideoTrack = "auto",
        sound_track: SoundChoice = "auto",
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ):
        """Pieces are about `chunk_us` long and have at most `max_bytes`. When `stopped` returns True, reading ends.

        `track` is the number of the video track, as `pick_video` counts. `sound_track` chooses one of several sound
        tracks; `auto` decides by the sound of the first piece.
        """
        self._url, self._chunk_us, self._max_bytes = url, chunk_us, max_bytes
        self._stopped, self._now_us, self._encode, self._track = stopped, now_us, encode, track
        self._sound = _Sound(sound_track)
        self._shift_us = 0
        self._late_us: int | None = None
        self._piece_bytes = 0
        self._failure: SourceError | None = None

    def pieces(self) -> Iterator[LivePiece]:
        """Yield pieces until the input stops. After the last one, the reason is raised as SourceError."""
        try:
            with _opened(self._url) as container:
                yield from self._read(container)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{shown(self._url)}: {_reason(error)}") from error
        if self._failure is not None:
            raise self._failure

    def _read(self, container: Any) -> Iterator[LivePiece]:
        video = pick_video(container, self._track)
        if video is None or video.codec_context is None:
            raise SourceError(f"{shown(self._url)}: expected a video track that FFmpeg can decode, found none")
        codec = video.codec_context
        # An H.264 or H.265 stream that was opened between keyframes sends its parameters only later.
        name = codec.codec.canonical_name
        headless = name in ("h264", "hevc") and not codec.extradata
        packets = _with_sound(self._packets(container, video), self._sound)
        if self._encode or headless or name not in REMUX_CODECS:
            groups = self._encoded(packets, video)
        else:
            groups = self._copied(packets, video)
        origin_us = None
        for group in groups:
            late_us, self._late_us, self._piece_bytes = self._late_us or 0, None, 0
            joined = origin_us is not None and late_us - origin_us <= MAX_LATE_US
            if origin_us is None or not joined:
                origin_us = late_us
            body = write_chunk(group, self._sound.piece(group))
            yield LivePiece(origin_us + group.start_us, origin_us + group.end_us, body, joined)

    def _copied(self, packets: Iterator[Any], video: Any) -> Iterator[Group]:
        first = next((p for p in packets if p.is_keyframe and is_random_access(p, video)), None)
        if first is not None:
            self._start(first)
            yield from copied_groups(
                chain([first], self._bounded(packets, video)), video, self._chunk_us, self._shift_us
            )

    def _encoded(self, packets: Iterator[Any], video: Any) -> Iterator[Group]:
        aspect = PixelAspect(video)
        frames = chain(pictures_shown(packets, video), _remaining_frames(video))
        first = next((frame for frame in frames if frame.pts is not None), None)
        if first is not None:
            self._start(first)
            yield from encoded_groups(chain([first], frames), aspect, self._chunk_us, self._shift_us)

    def _start(self, first: Any) -> None:
        """Start the stream's clock at the first picture or packet."""
        self._shift_us = CLOCK_START_US - microseconds(first.pts, first.time_base)
        self._sound.start(self._shift_us)
        self._late_us = (self._late_us or 0) - self._shift_us

    def _bounded(self, packets: Iterator[Any], video: Any) -> Iterator[Any]:
        """Pass packets on, except those between damage and the next keyframe. End if no keyframe comes in time."""
        last_key_us, damaged = CLOCK_START_US, False
        for packet in packets:
            time_us = microseconds(packet.pts, packet.time_base) + self._shift_us
            if packet.is_keyframe and is_random_access(packet, video):
                last_key_us, damaged = time_us, packet.is_corrupt
            elif time_us - last_key_us > LONGEST_US:
                self._failure = KeyframesTooRare(
                    f"{shown(self._url)}: no keyframe for {LONGEST_US / 1e6:g} s; expected one at least that often"
                )
                return
            damaged = damaged or packet.is_corrupt
            if not damaged:
                yield packet

    def _packets(self, container: Any, video: Any) -> Iterator[Any]:
        """The video track's packets until the input stops; sound packets go to `_sound`.

        It never raises, so that what has arrived is used; the reason for the end is kept in `_failure`.
        """
        sounds = self._sound.announce(container.streams.audio)
        decoded_us: int | None = None
        seen_s = time.monotonic()
        try:
            for packet in container.demux([video, *sounds]):
                if self._stopped():
                    return
                if packet.size == 0 or (packet.dts is None and packet.pts is None):
                    continue
                if packet.stream_index != video.index:
                    self._sound.take(packet)
                    if time.monotonic() - seen_s > READ_TIMEOUT_S:
                        raise SourceError(f"{shown(self._url)}: only sound, and no picture, for {READ_TIMEOUT_S:g} s")
                    continue
                seen_s = time.monotonic()
                before_us, decoded_us = decoded_us, _decoding_us(packet)
                if before_us is not None and not 0 <= decoded_us - before_us <= JUMP_US:
                    raise SourceError(f"{shown(self._url)}: the input's clock jumps, so it was interrupted")
                if packet.pts is None:
                    continue
                self._note(packet)
                yield packet
            self._failure = SourceError(f"{shown(self._url)}: the input has ended")
        except (av.FFmpegError, OSError) as error:
            self._failure = SourceError(f"{shown(self._url)}: {_reason(error)}")
        except IndexError:
            # PyAV lists the tracks when it opens the input, and fails with packets of a track that is added later.
            self._failure = SourceError(f"{shown(self._url)}: a track has appeared, which requires a new connection")
        except SourceError as error:
            self._failure = error

    def _note(self, packet: Any) -> None:
        """Note a packet's delay, and count the bytes since the last piece. Raises SourceError if they are too many."""
        late_us = self._now_us() - microseconds(packet.pts, packet.time_base) - self._shift_us
        self._late_us = late_us if self._late_us is None else min(late_us, self._late_us)
        self._piece_bytes += packet.size
        if self._piece_bytes > self._max_bytes:
            raise SourceError(
                f"{shown(self._url)}: expected at most {self._max_bytes >> 20} MiB per chunk, got more before it was "
                "complete; raise --buffer-mib or shorten --chunk-s"
            )


class _Sound:
    """The sound of a live input, decoded as it arrives and returned piece by piece.

    All candidate tracks are decoded until the first piece is requested. The sound that they have by then decides.
    """

    def __init__(self, wanted: SoundChoice) -> None:
        self.packets_us: int | None = None
        """Time of the latest sound packet on the input's clock; None before the first."""
        self._wanted = wanted
        self._streams: Any = ()
        self._frames: dict[int, deque[Any]] = {}
        self._chosen: int | None = None
        self._track: SoundTrack | None = None

    def announce(self, streams: Any) -> list[Any]:
        """Set the container's sound tracks; returns those whose packets are needed."""
        self._streams = streams
        tracks = sound_tracks(streams, self._wanted)
        self._frames = {track.index: deque(maxlen=_SOUND_FRAMES) for track in tracks}
        return tracks

    def start(self, shift_us: int) -> None:
        self._track = SoundTrack(self, shift_us)

    def take(self, packet: Any) -> None:
        if self._chosen not in (None, packet.stream_index):
            return
        if packet.pts is not None:
            self.packets_us = microseconds(packet.pts + (packet.duration or 0), packet.time_base)
        try:
            self._frames[packet.stream_index].extend(packet.decode())
        except av.FFmpegError:
            return

    def piece(self, group: Group) -> Any:
        if self._chosen is None:
            self._choose()
        return None if self._track is None else self._track.piece(group.start_us, group.end_us)

    def _choose(self) -> None:
        self._chosen = pick_sound(list(self._frames), lambda track: map(raw_samples, self._frames[track]))
        if self._chosen is not None and len(self._streams) > 1:
            stream = next(one for one in self._streams if one.index == self._chosen)
            log.info(
                "the live input: sound %s is used; --sound-track chooses another", described(stream, self._streams)
            )

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._chosen is None or not self._frames[self._chosen]:
            raise StopIteration
        return self._frames[self._chosen].popleft()


def _with_sound(packets: Iterator[Any], sound: _Sound) -> Iterator[Any]:
    """Hold pictures back until their sound has arrived, which comes a little later, but at most for about a second."""
    waiting: deque[Any] = deque()
    for packet in packets:
        waiting.append(packet)
        while waiting:
            newest_us, oldest_us = _decoding_us(waiting[-1]), _decoding_us(waiting[0])
            overdue = newest_us - oldest_us > _SOUND_WAIT_US or len(waiting) > _WAITING_PICTURES
            if sound.packets_us is not None and sound.packets_us < oldest_us and not overdue:
                break
            yield waiting.popleft()
    yield from waiting


def _remaining_frames(video: Any) -> Iterator[Any]:
    """The frames that the decoder still holds after the last packet."""
    try:
        for frame in video.codec_context.decode(None):
            frame.time_base = video.time_base
            yield frame
    except av.FFmpegError:
        return


def _decoding_us(packet: Any) -> int:
    return microseconds(packet.pts if packet.dts is None else packet.dts, packet.time_base)


def _opened(url: str) -> Any:
    scheme = urlsplit(url).scheme
    if not scheme:
        return _open(url, {}, format="v4l2")
    options = {"protocol_whitelist": _PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        # TCP loses no packets; UDP would also need extra ports opened in every firewall.
        return _open(url, {**options, "rtsp_transport": "tcp"}, format="rtsp")
    if scheme == "udp":
        options |= {"fifo_size": "50000", "overrun_nonfatal": "1"}
    return _open(url, {**options, "format_whitelist": _CONTAINERS})


def _open(url: str, options: dict[str, str], **named: str) -> Any:
    # A camera's name may be in any encoding, and it is not used here.
    timeout = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
    return av.open(url, options=options, timeout=timeout, metadata_errors="replace", **named)


def _reason(error: Exception) -> str:
    """FFmpeg's message without the URL that it appends."""
    if isinstance(error, av.error.ExitError):
        return "nothing came in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)
