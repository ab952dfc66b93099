"""Measures the ranges of CenterFace's activations, for its 8-bit copy: python -m streamfx.train.detector_ranges SET...

SETs are finished sets of `streamfx synth`. Each clip gives two pictures, at three of the sizes that the detector sees. The
file of the ranges is written anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from PIL import Image

from streamfx.detection.centerface import INPUT, free_shape, model_file
from streamfx.detection.int8 import RANGES_FILE, prepared, tensors
from streamfx.synth.output import read_set
from streamfx.whole_files import write_whole

SIDES_PX = (416, 224, 96)


def pictures(sets: Sequence[Path]) -> Iterator[npt.NDArray[np.float32]]:
    """float32 [1, 3, side, side], values 0..255."""
    for directory in sets:
        for clip in read_set(directory)[1]["clip"]:
            with av.open(str(directory / "clips" / f"{clip}.mp4")) as container:
                frames = [frame.to_image() for frame in container.decode(video=0)]
            for frame in (frames[0], frames[len(frames) // 2]):
                for side in SIDES_PX:
                    small = np.asarray(frame.resize((side, side), Image.Resampling.BILINEAR), np.float32)
                    yield np.ascontiguousarray(small.transpose(2, 0, 1)[None])


def measured(sets: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each tensor over all pictures, rounded to three digits after the point."""
    net = prepared(free_shape(model_file()))
    names = sorted(tensors(net))
    known = {value.name for value in net.graph.output} | {INPUT}
    net.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = onnxruntime.InferenceSession(net.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [name for name in names if name != INPUT]
    low, high = dict.fromkeys(outputs, 0.0), dict.fromkeys(outputs, 0.0)
    for picture in pictures(sets):
        for name, value in zip(outputs, session.run(outputs, {INPUT: picture}), strict=True):
            low[name], high[name] = min(low[name], float(value.min())), max(high[name], float(value.max()))
    return {INPUT: (0.0, 255.0)} | {name: (round(low[name], 3), round(high[name], 3)) for name in outputs}


def main() -> None:
    """Measure and write."""
    found = measured([Path(argument) for argument in sys.argv[1:]])
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(span)}" for name, span in sorted(found.items()))
    write_whole(RANGES_FILE, f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
