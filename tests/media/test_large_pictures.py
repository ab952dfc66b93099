"""Pictures in DCI 4K are accepted by default, in landscape and in portrait; larger ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.odd_pictures import Track, video

from streamfx.config.media import Media
from streamfx.errors import BadChunk
from streamfx.media.decode import decode


def plain(width: int, height: int, codec: str = "libx264") -> bytes:
    picture = np.full((height, width, 3), 90, np.uint8)
    return video(Track(lambda _: picture, codec, options={"preset": "ultrafast"}), frames=4)


@pytest.mark.parametrize("size", [(4096, 2160), (2160, 4096), (3840, 2160)], ids=str)
def test_4k_is_decoded(size: tuple[int, int]) -> None:
    frames = decode(plain(*size), 0, Media(backend="pyav")).frames
    assert frames and all(frame.pixels.shape == (size[1], size[0], 3) for frame in frames)


def test_larger_pictures_are_refused() -> None:
    with pytest.raises(BadChunk, match="too_large"):
        decode(plain(4112, 2160), 0, Media(backend="pyav"))


def test_the_limit_counts_the_picture_and_not_its_coded_blocks() -> None:
    # H.264 codes 1080 lines as 1088, in blocks of 16.
    assert decode(plain(1920, 1080), 0, Media(backend="pyav", max_pixels=1920 * 1080)).frames
