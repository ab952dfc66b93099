"""Decoding with NVDEC (PyNvVideoCodec): frames are torch CUDA tensors from the start and never leave the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from av.bitstream import BitStreamFilterContext

from streamfx.config.media import Media
from streamfx.errors import BadChunk, MissingComponent
from streamfx.media.chunk_media import ChunkMedia
from streamfx.media.orientation import Orientation, orientation_of
from streamfx.media.pyav_decoder import PyavPictures, first_frame
from streamfx.media.screen import is_plain

# FFmpeg's name of a codec -> NVDEC's name, and the bitstream filter that adds the start codes that NVDEC needs.
NVDEC_CODECS = {
    "h264": ("H264", "h264_mp4toannexb"),
    "hevc": ("HEVC", "hevc_mp4toannexb"),
    "mpeg1video": ("MPEG1", None),
    "mpeg2video": ("MPEG2", None),
    "vp9": ("VP9", None),
    "av1": ("AV1", None),
}


class GpuPictures:
    """Decodes on the first CUDA device.

    Codecs that NVDEC does not support, and chunks whose first frame is not `is_plain`, are decoded by PyAV and then
    copied to the device.
    """

    def __init__(self) -> None:
        self._nvc = _load_nvdec()
        self._pyav = PyavPictures()

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[torch.Tensor]:
        """The frames with the indices `wanted` (ascending), as `Screen` makes them: uint8 RGB [H, W, 3] CUDA tensors.

        Colours may differ from PyAV's by rounding. Raises BadChunk `corrupt`.
        """
        codec = chunk.video.codec_context.codec.canonical_name
        if codec not in NVDEC_CODECS or chunk.video.codec_context.pix_fmt not in ("yuv420p", "yuvj420p"):
            return self._by_pyav(chunk, wanted, media)
        first, aspect = first_frame(chunk, media)
        if not is_plain(first, aspect):
            return self._by_pyav(chunk, wanted, media)
        orientation = orientation_of(first)
        due = [chunk.pts[index] for index in wanted]
        made: list[torch.Tensor] = []
        current: torch.Tensor | None = None
        for pts, surface in self._decoded(chunk, NVDEC_CODECS[codec][0]):
            while len(made) < len(due) and due[len(made)] < pts:
                made.append(_upright(current, orientation))
            # NVDEC writes the next frame into the same surface.
            current = torch.utils.dlpack.from_dlpack(surface).clone()
        return made + [_upright(current, orientation) for _ in due[len(made) :]]

    def _by_pyav(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[torch.Tensor]:
        return [torch.from_numpy(pixels).cuda() for pixels in self._pyav.pictures(chunk, wanted, media)]

    def _decoded(self, chunk: ChunkMedia, codec: str) -> Iterator[tuple[int, Any]]:
        """(presentation time, RGB surface) of each frame from the first keyframe on, in presentation order."""
        nvc = self._nvc
        decoder = nvc.CreateDecoder(
            gpuid=0,
            codec=getattr(nvc.cudaVideoCodec, codec),
            usedevicememory=True,
            outputColorType=nvc.OutputColorType.RGB,
        )
        try:
            for data, pts in [*annex_b(chunk), (b"", 0)]:
                buffer = np.frombuffer(data, np.uint8)
                packet = nvc.PacketData()
                packet.bsl, packet.bsl_data, packet.pts = buffer.size, buffer.ctypes.data, pts
                for surface in decoder.Decode(packet):
                    if surface.getPTS() >= chunk.pts[0]:
                        yield surface.getPTS(), surface
        except nvc.PyNvVCException as error:
            raise BadChunk("corrupt", f"NVDEC cannot decode a picture: {error}") from error


def _upright(picture: torch.Tensor | None, orientation: Orientation) -> torch.Tensor:
    if picture is None:
        raise BadChunk("corrupt", "the first picture cannot be decoded")
    upright: torch.Tensor = orientation.apply(picture)
    return upright


def annex_b(chunk: ChunkMedia) -> list[tuple[bytes, Any]]:
    """(bytes, presentation time) of each picture in decoding order, with in-band headers, which NVDEC needs."""
    video = chunk.video
    name = NVDEC_CODECS[video.codec_context.codec.canonical_name][1]
    extradata = video.codec_context.extradata or b""
    if name is not None and extradata[:1] == b"\x01":
        bitstream = BitStreamFilterContext(name, video)
        return [(bytes(out), out.pts) for packet in [*chunk.video_packets, None] for out in bitstream.filter(packet)]
    units = [(bytes(packet), packet.pts) for packet in chunk.video_packets]
    if extradata.startswith(b"\0\0\1"):
        units[0] = (extradata + units[0][0], units[0][1])
    return units


def _load_nvdec() -> Any:
    if not torch.cuda.is_available():
        raise MissingComponent(
            "media.backend: gpu needs a CUDA device, and torch finds none; set media.backend to auto or pyav"
        )
    try:
        import PyNvVideoCodec
    except ImportError as error:
        raise MissingComponent(
            "media.backend: gpu needs the package PyNvVideoCodec; install it with `pip install 'streamfx[gpu]'`, "
            "or set media.backend to auto or pyav"
        ) from error
    return PyNvVideoCodec
