"""A seeded fuzzer of media chunks: takes healthy ones of many kinds and damages them as accidents and attackers do."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
from helpers.media_bombs import BOMBS

from streamfx.media.cut import cut_video

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
BOXES = (
    b"mvhd tkhd mdhd stsd stts ctts stsc stsz stco co64 stss elst trun tfdt tfhd trex mfhd mdat moof moov traf trak avc1 "
    b"hev1 hvc1 mp4a fLaC avcC hvcC esds dfLa sidx"
).split()
HEADER_BYTES = 2_000
"""Length of a container's start, which holds most of its declarations."""


@dataclass(frozen=True)
class Specimen:
    """One chunk as it is sent: the damage done to it, its body, and the headers that differ from the right ones."""

    kind: str
    body: bytes = field(repr=False)
    headers: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Parameters of a healthy chunk: two seconds of moving pictures with a tone."""

    container: str
    picture: str
    sound: str | None
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)


RECIPES = (
    Recipe("mp4", "libx264", "aac", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    Recipe("mp4", "libx264", "aac"),
    Recipe("mp4", "libx265", "flac", options={"strict": "experimental"}),
    Recipe("mp4", "mpeg4", None),
    Recipe("mpegts", "libx264", "aac"),
    Recipe("mpegts", "mpeg2video", "mp2"),
    Recipe("mpeg", "mpeg2video", "mp2"),
    Recipe("matroska", "libx264", "pcm_s16le"),
    Recipe("matroska", "mjpeg", "flac", pix_fmt="yuvj420p"),
    Recipe("webm", "libvpx-vp9", "libopus"),
)


def healthy_chunk(recipe: Recipe, seconds: float = 2.0) -> bytes:
    """The bytes of the chunk that a recipe describes."""
    body = io.BytesIO()
    with av.open(body, "w", format=recipe.container, options=dict(recipe.options)) as out:
        speed = {"preset": "ultrafast"} if recipe.picture.startswith("libx26") else {}
        if recipe.picture == "libx265":
            speed["x265-params"] = "log-level=none"
        video = out.add_stream(recipe.picture, rate=25, options=speed)
        video.width, video.height, video.pix_fmt = 96, 64, recipe.pix_fmt
        voice = out.add_stream(recipe.sound, rate=48_000) if recipe.sound else None
        for number in range(round(25 * seconds)):
            x, y = np.meshgrid(np.arange(96), np.arange(64))
            rgb = np.stack([(x * 3 + number * 5) % 256, (y * 4 + number) % 256, (x + y) % 256], axis=2)
            picture = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24")
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if voice is not None:
            tone = np.sin(np.arange(round(48_000 * seconds)) / 20) * 9000
            samples = np.repeat(tone.astype(np.int16), 2).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 48_000, 0
            out.mux(voice.encode(frame))
            out.mux(voice.encode(None))
    return body.getvalue()


def healthy_chunks(clips: Sequence[Path] = (), each: int = 2) -> list[bytes]:
    """Healthy chunks: one of every recipe, and the first `each` of every clip, cut as `streamfx publish` cuts."""
    cut = [chunk.body for clip in clips for chunk in islice(cut_video(clip, 1.0, start_us=0), each)]
    return [healthy_chunk(recipe) for recipe in RECIPES] + cut


def _flip_bits(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    limit = min(len(body), HEADER_BYTES) if chance.random() < 0.5 else len(body)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        body[chance.randrange(limit)] ^= 1 << chance.randrange(8)


def _overwrite(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at, size = chance.randrange(len(body)), chance.choice((1, 4, 16, 200, 4000))
    filling = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))
    body[at : at + size] = filling[: len(body) - at]


def _truncate(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    del body[chance.randrange(len(body)) :]


def _splice(body: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> None:
    other = chance.choice(seeds)
    body[chance.randrange(len(body)) :] = other[chance.randrange(len(other)) :]


def _shuffle(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Leave out, repeat or move a stretch."""
    at, size = chance.randrange(len(body)), chance.choice((1, 8, 188, 1000, 10_000))
    piece = bytes(body[at : at + size])
    if chance.random() < 0.7:
        del body[at : at + size]
    if chance.random() < 0.7:
        to = chance.randrange(len(body) + 1)
        body[to:to] = piece


def _lie(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Overwrite a field near the name of an MP4 box, or in another container's header, with an extreme number."""
    places = [at for name in BOXES if (at := body.find(name)) >= 0]
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.choice(places) + 4 * chance.randrange(-1, 12) if places else chance.randrange(HEADER_BYTES)
        value = chance.choice((*INTERESTING, chance.randrange(1 << 32)))
        size, form = chance.choice(((1, "B"), (2, ">H"), (4, ">I"), (4, ">I")))
        if 0 <= at <= len(body) - size:
            body[at : at + size] = struct.pack(form, value % (1 << 8 * size))


def _huge(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Replace the picture's size where a container states it."""
    size = struct.pack(">HH", *(chance.choice((0, 1, 8191, 16384, 32767, 65535)) for _ in range(2)))
    for name in (b"avc1", b"hev1", b"mp4v"):
        at = body.find(name)
        if at >= 0 and at + 32 <= len(body):
            body[at + 28 : at + 32] = size
            return
    at = chance.randrange(min(len(body), HEADER_BYTES))
    body[at : at + 4] = size


def _endless(body: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """Replace times: in the tables of an MP4, or in the clock of MPEG-TS packets."""
    if body[:1] == b"\x47":
        for packet in range(0, len(body) - 188, 188):
            if chance.random() < 0.05:
                body[packet + 5 : packet + 18] = chance.randbytes(13)
        return
    for name in (b"mdhd", b"stts", b"trun", b"tfdt", b"tfhd", b"trex", b"elst", b"ctts"):
        at = body.find(name)
        if at >= 0 and chance.random() < 0.5:
            field_at = at + 4 * chance.randrange(1, 8)
            body[field_at : field_at + 4] = struct.pack(">I", chance.choice(INTERESTING))


MUTATIONS: Mapping[str, Callable[[bytearray, random.Random, Sequence[bytes]], None]] = {
    "bit_flips": _flip_bits,
    "overwritten": _overwrite,
    "truncated": _truncate,
    "spliced": _splice,
    "shuffled": _shuffle,
    "header_lies": _lie,
    "huge_dimensions": _huge,
    "endless_duration": _endless,
}

BAD_HEADERS: Sequence[Mapping[str, bytes | None]] = (
    {"streamfx-seq": b"-1"},
    {"streamfx-seq": b"99999999999999999999"},
    {"streamfx-start-us": b"1e9"},
    {"streamfx-start-us": b"9223372036854775807"},
    {"streamfx-start-us": None},
    {"content-type": b"\xff\xfe"},
    {"content-type": b"application/vnd.streamfx.claim-check+json"},
    {"streamfx-consent": b"maybe"},
    {"streamfx-end": b"yes"},
    {"traceparent": b"00-" + b"0" * 999},
)
"""Wrong headers, each of which replaces the right ones; None leaves a header out."""


def specimen(number: int, seed: int, seeds: Sequence[bytes], bombs: Sequence[tuple[str, bytes]] = ()) -> Specimen:
    """Chunk `number` of the series `seed`, always the same: one in 20 has bad headers, one in 100 is one of `bombs`."""
    chance = random.Random(f"{seed}/{number}")
    if bombs and number % 100 == 99:
        return Specimen(*bombs[number // 100 % len(bombs)])
    body = bytearray(chance.choice(seeds))
    name = chance.choice(list(MUTATIONS))
    for kind in (name, *chance.sample(list(MUTATIONS), chance.choice((0, 0, 1)))):
        if body:
            MUTATIONS[kind](body, chance, seeds)
    if number % 20 == 19:
        return Specimen("bad_headers", bytes(body), chance.choice(BAD_HEADERS))
    return Specimen(name, bytes(body))


def all_bombs(names: Sequence[str] = tuple(BOMBS)) -> list[tuple[str, bytes]]:
    """Make the bombs of these names."""
    return [(f"bomb:{name}", BOMBS[name]()) for name in names]
