"""The demo's clip and its ground truth, as shipped and as made again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.lacking import RENDERER, needs

from streamfx.demo.run import CLIP, read_truth
from streamfx.errors import MissingComponent
from streamfx.nets.mma_dfer import LABELS_7

TRUTH = read_truth(CLIP.with_suffix(".truth.json"))


def test_the_clip_is_small_and_has_picture_and_sound_as_long_as_its_truth() -> None:
    assert CLIP.stat().st_size < 1_000_000
    with av.open(str(CLIP)) as container:
        pictures, sound = container.streams.video[0], container.streams.audio[0]
        assert pictures.average_rate == 25 and (sound.rate, sound.layout.name) == (16_000, "mono")
        assert pictures.frames == 25 * 24 == len(TRUTH) * 5


def test_somebody_is_heard_all_the_time() -> None:
    with av.open(str(CLIP)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    seconds = samples[: len(samples) // 16_000 * 16_000].reshape(-1, 16_000)
    assert (np.sqrt((seconds**2).mean(axis=1)) > 0.005).all()


def test_every_expression_is_shown_for_three_seconds_and_rises_and_falls() -> None:
    times_s = [time_s for time_s, _, _ in TRUTH]
    assert np.allclose(times_s, np.arange(len(TRUTH)) / 5)
    assert Counter(label for _, label, _ in TRUTH) == {label: 30 if label == "neutral" else 15 for label in LABELS_7}
    for label in set(LABELS_7) - {"neutral"}:
        course = [much for _, shown, much in TRUTH if shown == label]
        assert course[0] == 0 and max(course) == 1 and course[-1] < 0.6
    assert all(much == 0 for _, label, much in TRUTH if label == "neutral")


@pytest.mark.slow
@needs(*RENDERER)
def test_equal_seeds_make_equal_stories_and_reproduce_the_shipped_truth(tmp_path: Path) -> None:
    story = pytest.importorskip("streamfx.synth.story", reason="moderngl is not installed: make setup installs it")
    from streamfx.synth.head import load_head
    from streamfx.synth.render import Renderer

    try:
        head = load_head()
        Renderer(head, 64)
        parts = story.PARTS[:2]
        first, second = (story.make_story(head, story.SEED, parts, fps=5, size=128) for _ in range(2))
    except MissingComponent as error:
        pytest.skip(f"the clip cannot be made here: {error}")
    assert (first.video == second.video).all() and (first.samples == second.samples).all()
    assert first.truth == second.truth
    video, truth = story.write_story(first, tmp_path)
    assert read_truth(truth) == TRUTH[: 6 * 5] and video.stat().st_size > 10_000
    other = story.make_story(head, story.SEED + 1, parts[:1], fps=5, size=128)
    assert (other.video != first.video[: len(other.video)]).mean() > 0.5
    json.loads(truth.read_text())
