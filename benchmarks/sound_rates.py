"""One video with its sound stored at 8, 16, 44.1 and 48 kHz: how closely do the answers agree with those at 16 kHz?

The pictures and faces are those of the shipped clip. A polyphase filter, which is not the line's resampler, converts
its 16 kHz sound to each rate. The model hears each sound twice: at the file's own rate (`before`, still the case for
imported checkpoints), and as the shipped model requires (`after`). Nothing here is a timing.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, resample_poly

from streamfx.config.media import Media
from streamfx.media.cut import cut_video
from streamfx.media.decode import open_decoder
from streamfx.models.contract import FAITHFUL, SoundInput
from streamfx.pipeline import find_operator
from streamfx.records import Segment, Sound, TrackedFrame, Window
from streamfx.train.scorer import Scorer, offline_context

CLIP = Path(__file__).parents[1] / "streamfx" / "assets" / "story.mp4"
RATES_HZ = (8_000, 16_000, 44_100, 48_000)
START_US = 1_767_225_600_000_000


def at_rate(sound: Sound, rate: int) -> Sound:
    """The sound stored at another rate, with all frequencies that this rate can hold but the highest percent."""
    if rate == sound.rate:
        return sound
    ratio = Fraction(rate, sound.rate)
    most = max(ratio.numerator, ratio.denominator)
    taps = firwin(2 * 500 * most + 1, 0.995 / most, window=("kaiser", 9.0))
    waveform = resample_poly(sound.waveform.astype(np.float64), ratio.numerator, ratio.denominator, window=taps)
    return Sound(sound.origin_us, round(sound.first_sample * ratio), rate, waveform.astype(np.float32))


def windows_of(segment: Segment, tracked: list[TrackedFrame], sound: Sound, heard: SoundInput) -> list[Window]:
    """The windows of the whole clip with this sound, in the form `heard`."""
    windows: Any = find_operator("windows")
    gatherer = windows(windows.Config(), offline_context(sound=heard))
    found: list[Window] = gatherer.add("clip", 0, replace(segment, sound=sound), tracked)
    return found + list(gatherer.end_stream("clip", 0))


def compared(
    ours: list[Window], scores: npt.NDArray[np.float64], reference: list[Window], wanted: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Differences of windows and scores from those at 16 kHz."""
    assert [w.start_us for w in ours] == [w.start_us for w in reference]
    distance = np.abs(np.stack([w.fbank for w in ours]) - np.stack([w.fbank for w in reference]))[:, :198]
    same = scores.argmax(axis=1) == wanted.argmax(axis=1)
    return {
        "windows": len(ours),
        "same_expression": round(float(same.mean()), 4),
        "score_mean_difference": round(float(np.abs(scores - wanted).mean()), 4),
        "score_largest_difference": round(float(np.abs(scores - wanted).max()), 4),
        "bank_mean_difference": round(float(distance.mean()), 4),
        "bank_mean_difference_below_3500_hz": round(float(distance[:, :, :88].mean()), 4),
    }


def main() -> None:
    """Write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--model", default="expression-faces")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sound-rates.json")
    args = parser.parse_args()
    (chunk,) = cut_video(args.clip, 600.0, START_US)
    segment = open_decoder(Media(backend="pyav")).decode(chunk.body, chunk.start_us)
    assert segment.sound is not None
    if segment.sound.rate != 16_000:
        parser.error(f"expected a clip with sound at 16000 Hz, got {segment.sound.rate}")
    faces: Any = find_operator("faces")
    tracked = faces(faces.Config(), offline_context()).track("clip", 0, segment)
    result: dict[str, Any] = {"clip": args.clip.name, "rates": {}}
    with Scorer(args.model) as scorer:
        result |= {"model": scorer.info.name, "model_version": scorer.info.version}
        reference = windows_of(segment, tracked, segment.sound, scorer.info.sound)
        wanted = scorer.probabilities(reference)
        for rate in RATES_HZ:
            sound = at_rate(segment.sound, rate)
            result["rates"][str(rate)] = {}
            for name, heard in (("before", FAITHFUL), ("after", scorer.info.sound)):
                ours = windows_of(segment, tracked, sound, heard)
                result["rates"][str(rate)][name] = compared(ours, scorer.probabilities(ours), reference, wanted)
    args.out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
