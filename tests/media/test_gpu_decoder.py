"""The GPU backend without a GPU: the packets that it passes to NVDEC, and how it converts the surfaces.

FFmpeg stands in for the device. It has PyNvVideoCodec's interface and reads exactly the bytes that NVDEC would read.
"""

from __future__ import annotations

import ctypes
import io
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from helpers.odd_pictures import PQ_TAGS, Track, disc, pq, video, write_video

from streamfx.config.media import Media
from streamfx.errors import BadChunk, MissingComponent
from streamfx.media.cut import cut_video
from streamfx.media.decode import ChunkDecoder, decode, open_decoder
from streamfx.media.gpu_decoder import GpuPictures

START_US = 1_700_000_000_000_000
FFMPEG_NAMES = {
    "H264": "h264",
    "HEVC": "hevc",
    "MPEG1": "mpeg1video",
    "MPEG2": "mpeg2video",
    "VP9": "vp9",
    "AV1": "av1",
}


class Surface:
    """A decoded frame in memory that the decoder will overwrite."""

    def __init__(self, memory: torch.Tensor, pts: int):
        self._memory, self._pts = memory, pts

    def getPTS(self) -> int:
        return self._pts

    def __dlpack__(self, **options: Any) -> Any:
        return self._memory.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._memory.__dlpack_device__()


class SoftwareDecoder:
    """Stands in for CreateDecoder: gives surfaces of raw packets in presentation order; an empty packet drains it."""

    def __init__(self, codec: str, **_: Any):
        self._context: Any = av.CodecContext.create(FFMPEG_NAMES[codec], "r")
        self._memory: torch.Tensor | None = None

    def Decode(self, packet: Any) -> list[Surface]:
        unit = None
        if packet.bsl:
            unit = av.Packet(ctypes.string_at(packet.bsl_data, packet.bsl))
            unit.pts = packet.pts
        surfaces = []
        try:
            for frame in self._context.decode(unit):
                surfaces.append(Surface(self._write(frame), frame.pts))
        except av.FFmpegError as error:
            raise sys.modules["PyNvVideoCodec"].PyNvVCException(str(error)) from error
        return surfaces

    def _write(self, frame: Any) -> torch.Tensor:
        pixels = torch.from_numpy(frame.to_ndarray(format="rgb24").copy())
        if self._memory is None:
            self._memory = pixels
        self._memory.copy_(pixels)
        return self._memory


@pytest.fixture
def nvdec(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("PyNvVideoCodec")
    module.PyNvVCException = type("PyNvVCException", (Exception,), {})
    module.cudaVideoCodec = SimpleNamespace(**{name: name for name in FFMPEG_NAMES})
    module.OutputColorType = SimpleNamespace(RGB="rgb")
    module.PacketData = SimpleNamespace
    module.CreateDecoder = lambda gpuid, codec, usedevicememory, outputColorType: SoftwareDecoder(codec)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", module)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


@pytest.mark.parametrize(
    "recipe",
    [
        {"options": {"g": "12", "bf": "0"}},
        {"options": {"g": "12", "bf": "0"}, "rotation": 90},
        {"container": "mpeg", "codec": "mpeg1video", "sound": "mp2", "options": {"g": "12"}},
        {"container": "mpegts", "codec": "libx265", "options": {"x265-params": "keyint=12:bframes=0:log-level=none"}},
    ],
    ids=["h264", "turned", "mpeg-1", "hevc"],
)
def test_frames_and_times_equal_those_of_pyav(
    recipe: dict[str, Any], nvdec: None, make_clip: Callable[..., Path]
) -> None:
    media = Media(backend="gpu")
    for chunk in cut_video(make_clip(seconds=2.0, **recipe), 1.0, START_US):
        pyav = open_decoder(Media(backend="pyav")).decode(chunk.body, chunk.start_us)
        gpu = open_decoder(media).decode(chunk.body, chunk.start_us)
        assert len(pyav.frames) == len(gpu.frames) > 0
        for a, b in zip(pyav.frames, gpu.frames, strict=True):
            assert (a.time_us, a.sample_us) == (b.time_us, b.sample_us)
            assert isinstance(b.pixels, torch.Tensor)
            assert np.array_equal(a.pixels, b.pixels.numpy())


@pytest.mark.parametrize(
    "track",
    [
        Track(lambda _: disc(160, 120, Fraction(2)), aspect=Fraction(2)),
        Track(lambda _: disc(160, 120, Fraction(1, 2)), aspect=Fraction(1, 2), rotation=90),
        Track(lambda n: disc(160, 120, at=((40 + 6 * (n % 14)) / 160, 0.5)), fields=True),
        Track(lambda _: disc(160, 120), signal=pq, options={"x264-params": PQ_TAGS}),
    ],
    ids=["not square", "not square and turned", "interlaced", "HDR"],
)
def test_pictures_that_are_not_plain_are_decoded_by_pyav(
    track: Track, nvdec: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.Tensor.cuda", lambda tensor: tensor)
    body = video(track)
    pyav, gpu = (decode(body, START_US, Media(backend=backend)).frames for backend in ("pyav", "gpu"))
    assert len(pyav) == len(gpu) > 0
    for a, b in zip(pyav, gpu, strict=True):
        assert isinstance(b.pixels, torch.Tensor) and np.array_equal(a.pixels, b.pixels.numpy())


def test_the_chosen_track_is_decoded(nvdec: None) -> None:
    body = io.BytesIO()
    write_video(body, [Track(lambda _: disc(40, 32), default=False), Track(lambda _: disc(160, 120))])
    pyav, gpu = (decode(body.getvalue(), START_US, Media(backend=name)).frames for name in ("pyav", "gpu"))
    assert all(np.array_equal(a.pixels, b.pixels.numpy()) for a, b in zip(pyav, gpu, strict=True))
    assert pyav[0].pixels.shape == (120, 160, 3)


def test_damaged_media_raise_bad_chunk(nvdec: None, make_clip: Callable[..., Path]) -> None:
    body = bytearray(next(cut_video(make_clip(seconds=1.0, sound=None), 1.0)).body)
    at = body.index(b"mdat") + 804
    body[at : at + 900] = np.random.default_rng(1).bytes(900)
    with pytest.raises(BadChunk, match="corrupt"):
        ChunkDecoder(Media(), GpuPictures()).decode(bytes(body), START_US)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingComponent, match="needs a CUDA device"):
        open_decoder(Media(backend="gpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    with pytest.raises(MissingComponent, match=r"pip install 'streamfx\[gpu\]'"):
        open_decoder(Media(backend="gpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_nvdec_itself(make_clip: Callable[..., Path]) -> None:
    pytest.importorskip("PyNvVideoCodec")
    for chunk in cut_video(make_clip(size=(320, 240), options={"g": "25", "bf": "3"}), 1.0, START_US):
        pyav = open_decoder(Media(backend="pyav")).decode(chunk.body, chunk.start_us)
        gpu = open_decoder(Media(backend="gpu")).decode(chunk.body, chunk.start_us)
        assert [f.sample_us for f in pyav.frames] == [f.sample_us for f in gpu.frames]
        for a, b in zip(pyav.frames, gpu.frames, strict=True):
            assert isinstance(b.pixels, torch.Tensor) and b.pixels.is_cuda
            assert np.abs(np.asarray(a.pixels).astype(int) - b.pixels.cpu().numpy()).mean() < 4
