"""Cinema's 4K passes by default, lying and upright; what is larger is refused."""

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


def test_more_is_refused() -> None:
    with pytest.raises(BadChunk, match="too_large"):
        decode(plain(4112, 2160), 0, Media(backend="pyav"))


def test_the_limit_is_that_of_the_picture_not_of_its_coded_blocks() -> None:
    # H.264 codes 1080 lines in blocks of 16, as 1088.
    assert decode(plain(1920, 1080), 0, Media(backend="pyav", max_pixels=1920 * 1080)).frames
