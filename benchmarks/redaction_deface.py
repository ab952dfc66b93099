"""deface 1.5 with its defaults, by its own detector and fill; run as a program, it looks at one film.

    python benchmarks/redaction_deface.py FILM FOUND.npz

The program imports little else, so that its memory is deface's. As deface does, it decodes, searches and fills each frame
by itself, but it encodes none. What it found goes to FOUND.npz, the seconds it took to stdout. It needs
`pip install opencv-python-headless imageio-ffmpeg`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from deface.centerface import CenterFace
from deface.deface import anonymize_frame

THRESHOLD = 0.2
"""deface's default: the confidence of a detection that is filled."""
FILL = {"mask_scale": 1.3, "replacewith": "blur", "ellipse": True, "draw_scores": False, "replaceimg": None}


class DefaceNet:
    """deface's detector."""

    def __init__(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):  # it says which device it runs on
            self._centerface = CenterFace()

    def detect(self, picture: npt.NDArray[np.uint8], threshold: float = THRESHOLD) -> Any:
        """[n, 5]: boxes (x0, y0, x1, y1) and confidences."""
        return self._centerface(picture, threshold=threshold)[0]


fill = functools.partial(anonymize_frame, mosaicsize=20, **FILL)
"""deface's fill: (detections, picture), in place."""


def main() -> None:
    """Look at one film."""
    film, out = sys.argv[1:]
    net, found, began = DefaceNet(), [], time.perf_counter()
    with av.open(film) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            found.append(net.detect(picture).reshape(-1, 5))
            fill(found[-1], picture)
    took_s = time.perf_counter() - began
    np.savez(out, counts=[len(one) for one in found], found=np.concatenate(found))
    print(took_s)


if __name__ == "__main__":
    main()
