"""Decoding with decord, which has had no release since 2021 and takes about twice the CPU of PyAV for the sampled frames
(`benchmarks/decode.py`), so it is not the default."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamfx.config.media import Media
from streamfx.errors import BadChunk, MissingComponent
from streamfx.media.chunk_media import ChunkMedia
from streamfx.media.orientation import UPRIGHT, orientation_of
from streamfx.media.pyav_decoder import PyavPictures, first_frame
from streamfx.media.screen import is_plain


class DecordPictures:
    """Gives the same frames as PyAV.

    PyAV decodes what decord gets wrong: chunks that are not MP4, that begin with leading frames, or that have several
    video tracks, and chunks whose first frame is rotated or not `is_plain`.
    """

    def __init__(self) -> None:
        try:
            import decord
        except ImportError as error:
            raise MissingComponent(
                "media.backend: decord needs the package decord; install it with `pip install decord==0.6.0`, "
                "or set media.backend to pyav"
            ) from error
        decord.logging.set_level(decord.logging.FATAL)
        self._decord = decord
        self._pyav = PyavPictures()

    def pictures(self, chunk: ChunkMedia, wanted: Sequence[int], media: Media) -> list[npt.NDArray[np.uint8]]:
        """See PyavPictures.pictures. All frames have the size of the first one, and those between are decoded too."""
        leading = len(chunk.video_packets) != len(chunk.pts)
        if not chunk.is_mp4 or chunk.video_tracks > 1 or leading:
            return self._pyav.pictures(chunk, wanted, media)
        first, aspect = first_frame(chunk, media)
        if orientation_of(first) != UPRIGHT or not is_plain(first, aspect):
            return self._pyav.pictures(chunk, wanted, media)
        try:
            reader = self._decord.VideoReader(io.BytesIO(chunk.body), num_threads=media.threads)
            if len(reader) != len(chunk.pts):
                raise BadChunk("corrupt", f"expected {len(chunk.pts)} frames, as in the container, got {len(reader)}")
            # reader[index] and skip_frames count keyframes in decoding order, which gives wrong frames with open GOPs.
            due = set(wanted)
            frames = ((index, reader.next()) for index in range(max(due, default=-1) + 1))
            return [frame.asnumpy() for index, frame in frames if index in due]
        except self._decord.DECORDError as error:
            raise BadChunk("corrupt", "decord cannot decode a picture") from error
