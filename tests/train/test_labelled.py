"""Labelled sets to evaluate on: the net's view of an example, its groups, and the command on a set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastparquet
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner
from helpers.astronaut import make_video
from PIL import Image
from skimage import data

from streamfx.cli.evaluate import evaluate as command
from streamfx.errors import SynthError
from streamfx.media.audio import missing_sound
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.train.examples import AUS, FrameTruth
from streamfx.train.labelled import Samples, groups_of, synthetic_samples, window_of

MODEL = "expression-tiny"
CLIP = {
    "sex": "female",
    "age_group": "young",
    "skin_tone": 3,
    "light": "dim",
    "pose": "half",
    "crf": 28,
    "sound": "noisy",
    "face_px": 96.0,
    "kind": "frontal",
}


class MadeUp:
    """Two examples of grey squares in a black margin, the second one silent."""

    labels: tuple[str, ...] = LABELS_7
    pixels = 140
    margin = 1.25

    def __init__(self) -> None:
        self.targets = np.array([3, 0])

    def __len__(self) -> int:
        return 2

    def frames(self, number: int, at: Sequence[int], rng: np.random.Generator | None) -> npt.NDArray[np.uint8]:
        pictures = np.zeros((len(at), 140, 140, 3), np.uint8)
        for picture, segment in zip(pictures, at, strict=True):
            picture[14:126, 14:126] = 10 + segment
        return pictures

    def sound(self, number: int) -> npt.NDArray[np.float32]:
        return missing_sound() if number else np.zeros((512, 128), np.float32)

    def truth(self, number: int, at: Sequence[int]) -> FrameTruth:
        raise NotImplementedError


def test_the_net_sees_the_plain_crop_of_all_sixteen_frames() -> None:
    window = window_of(MadeUp(), 0)
    assert window.frames.shape == (16, 112, 112, 3)
    assert [int(frame.min()) for frame in window.frames] == [int(frame.max()) for frame in window.frames]
    assert window.frames[:, 0, 0, 0].tolist() == list(range(10, 26))


def test_silence_counts_as_missing_sound() -> None:
    assert window_of(MadeUp(), 0).audio_present
    assert not window_of(MadeUp(), 1).audio_present


def test_samples_have_the_examples_labels_and_groups() -> None:
    samples = Samples(MadeUp(), [{"sex": "female"}, {}])
    assert [(sample.label, sample.groups) for sample in samples] == [("anger", {"sex": "female"}), ("happiness", {})]
    assert samples[-1].label == "happiness" and len(samples[0:1]) == 1
    with pytest.raises(IndexError):
        samples[2]


def test_a_clip_counts_under_all_its_groups() -> None:
    assert groups_of(CLIP) == {
        "sex": "female",
        "age_group": "young",
        "light": "dim",
        "pose": "half",
        "sound": "noisy",
        "kind": "frontal",
        "skin": "light",
        "compression": "crf 24-30",
        "face_size": "64-128 px",
    }


@pytest.mark.parametrize(
    ("tone", "skin"), [(1, "light"), (4, "light"), (5, "medium"), (7, "medium"), (8, "dark"), (10, "dark")]
)
def test_skin_tones_are_three_groups(tone: int, skin: str) -> None:
    assert groups_of({"skin_tone": tone}) == {"skin": skin}


def test_null_values_give_no_group() -> None:
    assert groups_of({"sex": None, "crf": float("nan"), "pose": "half"}) == {"pose": "half"}


def test_the_command_on_a_synthetic_set(tmp_path: Path) -> None:
    folder = made_up_set(tmp_path / "set", ("happiness", "anger"))
    out, cache = tmp_path / "report", tmp_path / "cache"
    arguments = ["--model", MODEL, "--set", str(folder), "--cache", str(cache), "--out", str(out), "--json"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.count("\n") == 1
    values = json.loads(done.stdout)
    assert values["n"] == 2 and set(values["recall"]) == {"happiness", "anger"}
    assert values["groups"]["sex"]["female"]["n"] == 2
    assert json.loads((out / "evaluation.json").read_text()) == values
    again = CliRunner().invoke(command, arguments[:-1], catch_exceptions=False)
    assert "recall of happiness" in again.stdout and "video_only" in again.stdout and "skin light" in again.stdout


def made_up_set(folder: Path, expressions: Sequence[str]) -> Path:
    """A set in the format of `streamfx synth` with clips of the astronaut."""
    (folder / "clips").mkdir(parents=True)
    clips, frames = [], []
    for index, expression in enumerate(expressions):
        clip = f"s1-{index:06d}"
        make_video(folder / "clips" / f"{clip}.mp4", seconds=3)
        named = {"clip": clip, "expression": expression, "identity": f"s1-i{index}"}
        clips.append({**named, **CLIP, "seed": 1, "index": index, "intensity": 1.0, "apex_time_s": 1.5})
        frames += [{**named, **frame_truth(number)} for number in range(75)]
    fastparquet.write(str(folder / "clips.parquet"), pd.DataFrame(clips))
    fastparquet.write(str(folder / "frames.parquet"), pd.DataFrame(frames))
    about = {"version": 2, "seed": 1, "identities": 2, "clips": 2, "fps": 25, "size": 384, "seconds": 3.0}
    (folder / "set.json").write_text(json.dumps(about))
    return folder


def frame_truth(number: int) -> dict[str, Any]:
    box = dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), (120.0, 60.0, 220.0, 200.0), strict=True))
    eyes = {"lm_0_x": 150.0, "lm_0_y": 110.0, "lm_1_x": 190.0, "lm_1_y": 110.0}
    units = {f"au_{unit:02d}": 0.0 for unit in AUS}
    return {"frame": number, "time_s": number / 25, "face": 0, "expression_intensity": 1.0, **box, **eyes, **units}


def test_the_command_on_dfew(tmp_path: Path) -> None:
    picture = Image.fromarray(data.astronaut()).resize((224, 224))
    for name in ("00001", "00002"):
        frames = tmp_path / "Clip" / "clip_224x224" / name
        frames.mkdir(parents=True)
        for number in range(20):
            picture.save(frames / f"{number}.jpg")
    (tmp_path / "set_1.csv").write_text("video_name,label\n1,1\n2,4\n")
    arguments = ["--model", MODEL, "--dfew", str(tmp_path), "--fold", "set_1.csv", "--json"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    values = json.loads(done.stdout)
    assert values["n"] == 2 and values["groups"] == {} and set(values["recall"]) == {"happiness", "anger"}


def test_the_command_on_mafw_writes_only_into_its_cache(tmp_path: Path) -> None:
    root = tmp_path / "mafw"
    for name in ("00001", "00002"):
        frames = root / "data" / "frames" / name
        frames.mkdir(parents=True)
        for number in range(17):
            Image.fromarray(data.astronaut()[:256, 100:356]).save(frames / f"{number}.png")
    (root / "test.txt").write_text("1/00001.mp4 anger\n1/00002.mp4 contempt\n")
    before = sorted(root.rglob("*"))
    arguments = ["--model", MODEL, "--mafw", str(root), "--fold", "test.txt", "--json"]
    done = CliRunner().invoke(command, [*arguments, "--cache", str(tmp_path / "cache")], catch_exceptions=False)
    values = json.loads(done.stdout)
    assert values["n"] == 1 and values["skipped"] == {"contempt": 1}
    assert sorted(root.rglob("*")) == before
    assert len(list((tmp_path / "cache").glob("mafw-faces-*/*.json"))) == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = made_up_set(tmp_path / "set", ("happiness",))
    (tmp_path / "file").touch()
    with pytest.raises(SynthError, match=r"file/cache/.*: cannot be written: Not a directory; name another cache"):
        synthetic_samples(folder, tmp_path / "file" / "cache", 32)
