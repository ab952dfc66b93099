"""Checkpoint import: an imported model gives the logits of the authors' model, and pickled code never runs."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.lacking import lacks

from streamfx.cli.models import models
from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.find import read_card
from streamfx.nets.mma_dfer import MmaDfer, MmaDferConfig
from streamfx.train.import_checkpoint import import_checkpoint

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "mma_dfer"


class WritesAFile:
    """A pickle that writes a file if it is loaded without precautions."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"echo owned > {self.victim}",)


def full_shaped(classes: int = 7, img: int = 224) -> dict[str, torch.Tensor]:
    """All keys with the authors' shapes; each tensor repeats one number, so that the file is small."""
    with torch.device("meta"):
        net = MmaDfer(MmaDferConfig(classes=classes, image_size=img))
    return {f"module.{key}": torch.full((1,), 0.01).expand(value.shape) for key, value in net.state_dict().items()}


def save(path: Path, state: Any, legacy: bool = False, **more: Any) -> Path:
    torch.save(
        {"epoch": 25, "state_dict": state, "best_acc": torch.tensor(0.0), **more},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    return path


def refusal(path: Path, out: Path) -> str:
    with pytest.raises(ModelError) as caught:
        import_checkpoint(path, out)
    assert not out.exists()
    return str(caught.value)


def test_every_missing_unexpected_and_wrong_shaped_key_is_named(tmp_path: Path) -> None:
    state = full_shaped()
    for gone in ("temporal_net.cls_token", "audio_model.all_gate.11"):
        del state[f"module.{gone}"]
    state["module.adapter.weight"] = state["module.other"] = torch.zeros(1)
    state["module.vision_proj.weight"] = torch.zeros(512, 384)
    state["module.image_encoder.pos_embed"] = torch.zeros(1, 200, 768)
    path, out = save(tmp_path / "c.pth", state), tmp_path / "out"
    with pytest.raises(CheckpointMismatch) as caught:
        import_checkpoint(path, out)
    message = str(caught.value)
    assert "missing: temporal_net.cls_token, audio_model.all_gate.11\n" in message
    assert "unexpected: adapter.weight, other\n" in message
    assert "vision_proj.weight (expected [512, 768], got [512, 384])" in message
    assert "image_encoder.pos_embed (expected [1, 203, 768], got [1, 200, 768])" in message
    assert not out.exists()


def test_an_unknown_number_of_classes_is_refused(tmp_path: Path) -> None:
    assert "expected 7 or 11 classes, got 8" in refusal(
        save(tmp_path / "c.pth", full_shaped(classes=8)), tmp_path / "out"
    )


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = full_shaped()
    state["module.our_classifier.bias"] = torch.tensor([0.0, 1, 2, 3, 4, 5, torch.nan])
    assert "our_classifier.bias: expected finite weights" in refusal(save(tmp_path / "c.pth", state), tmp_path / "out")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["recorder", "state_dict", "key"])
def test_what_is_pickled_in_the_file_never_runs(tmp_path: Path, legacy: bool, place: str) -> None:
    victim = tmp_path / "owned"
    evil = WritesAFile(victim)
    state: Any = {"module.x": torch.zeros(1)}
    if place == "state_dict":
        state = {"module.x": evil}
    path = save(tmp_path / "c.pth", state, legacy, **({"recorder": evil} if place == "recorder" else {}))
    if place == "key":
        torch.save({evil: 1, "state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    refusal(path, tmp_path / "out")
    assert not victim.exists()
    torch.load(path, weights_only=False)
    assert victim.exists(), "the file is harmless: this test would prove nothing"


@pytest.mark.parametrize("legacy", [False, True])
def test_an_object_of_an_unknown_class_is_ignored(
    tmp_path: Path, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class exists where the file is written but not where it is read."""
    recorder_class = type("RecorderMeter", (), {"__module__": "__main__"})
    recorder = recorder_class()
    recorder.__dict__.update(losses=np.zeros((25, 2)), history=[{"epoch": 1}, {1, 2}, OrderedDict(a=1)])
    monkeypatch.setattr(sys.modules["__main__"], "RecorderMeter", recorder_class, raising=False)
    path = save(
        tmp_path / "c.pth",
        {"module.our_classifier.bias": torch.zeros(3)},
        legacy,
        recorder=recorder,
        optimizer={"lr": 1e-4},
    )
    monkeypatch.undo()
    assert "our_classifier.bias (expected [7], got [3])" in refusal(path, tmp_path / "out")


class Sets:
    """A pickle that sets attributes of a function or class of streamfx through the BUILD opcode."""

    def __init__(self, target: str):
        self.module, _, self.name = target.rpartition(".")

    def pickled(self) -> bytes:
        state = pickle.dumps((None, {"marked_by_a_pickle": 1}), protocol=2)[2:-1]
        return b"\x80\x02" + f"c{self.module}\n{self.name}\n".encode() + state + b"b."


@pytest.mark.parametrize("target", ["torch._utils._rebuild_tensor_v2", "torch.FloatStorage", "builtins.print"])
def test_a_pickle_cannot_change_the_objects_that_it_names(target: str) -> None:
    from streamfx.train.unpickle import _Unpickler

    _Unpickler(io.BytesIO(Sets(target).pickled())).load()
    for thing in (torch._utils._rebuild_tensor_v2, torch.FloatStorage, builtins.print):
        assert not hasattr(thing, "marked_by_a_pickle")


def test_files_that_are_not_checkpoints_are_refused_with_a_reason(tmp_path: Path) -> None:
    good = save(tmp_path / "good.pth", {"module.x": torch.zeros(1000)}).read_bytes()
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(tmp_path / "good.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "program.pt"))  # type: ignore[no-untyped-call]
    files = {
        "text": b"these are no weights",
        "empty": b"",
        "torn": good[: len(good) // 2],
        "garbled pickle": b"\x80\x02garbage",
        "tar": (tmp_path / "archive.tar").read_bytes(),
        "program": (tmp_path / "program.pt").read_bytes(),
        "plain pickle": pickle.dumps({"state_dict": {"a": 1}}),
    }
    for kind, content in files.items():
        path = tmp_path / f"{kind}.pth"
        path.write_bytes(content)
        assert str(path) in refusal(path, tmp_path / "out"), kind
    assert "cannot read" in refusal(tmp_path / "absent.pth", tmp_path / "out")
    assert "expected a dict with a `state_dict`" in refusal(save(tmp_path / "l.pth", [1]), tmp_path / "out")
    torch.save(torch.zeros(1), tmp_path / "tensor.pth")
    assert "expected a dict with a `state_dict`" in refusal(tmp_path / "tensor.pth", tmp_path / "out")
    assert "something else at module.x" in refusal(
        save(tmp_path / "i.pth", {"module.x": torch.zeros(1, dtype=torch.int64)}), tmp_path / "out"
    )


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="already holds a model"):
        import_checkpoint(save(tmp_path / "c.pth", full_shaped()), tmp_path)
    assert (tmp_path / "model.json").read_text() == "{}"


def test_the_command_line_refuses_files_that_hold_no_single_array(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array")
    np.savez(tmp_path / "b.npz", a=np.zeros(1))
    for name, message in (("a.npy", "expected an array"), ("b.npz", "archive of several")):
        arguments = ["logits", str(tmp_path), "--frames", str(tmp_path / name), "--fbank", str(tmp_path / name)]
        outcome = CliRunner().invoke(models, arguments)
        assert isinstance(outcome.exception, ModelError)
        assert message in str(outcome.exception)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3])
def test_an_imported_checkpoint_answers_as_the_authors_model(tmp_path: Path, seed: int) -> None:
    """This goes through the commands, as a user would; the file carries an object that would write a file if run."""
    if not FIXTURES.exists():
        lacks(
            "what the authors' model is compared with", "the development folder's shared/fixtures beside the checkout"
        )
    checkpoint, out, victim = tmp_path / "c.pth", tmp_path / "model", tmp_path / "owned"
    sys.path.insert(0, str(FIXTURES))
    try:
        import recipe  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(FIXTURES))
    try:
        torch.save(recipe.checkpoint(seed) | {"recorder": WritesAFile(victim)}, checkpoint)
        peak = import_apart(checkpoint, out)
        assert not victim.exists()
        assert peak < 2 * checkpoint.stat().st_size + 500e6, "more memory than twice the file, and python with torch"
        checkpoint.unlink()
        for name, value in zip(("frames", "fbank"), recipe.inputs(seed), strict=True):
            np.save(tmp_path / f"{name}.npy", value.numpy())
        arguments = [
            "logits",
            str(out),
            "--frames",
            str(tmp_path / "frames.npy"),
            "--fbank",
            str(tmp_path / "fbank.npy"),
        ]
        outcome = CliRunner().invoke(models, arguments, catch_exceptions=False)
        np.testing.assert_allclose(json.loads(outcome.stdout), recipe.CASES[seed]["logits"], atol=1e-3, rtol=0)
        card = read_card(out)
        assert (card.sizes.classes, card.sizes.image_size, card.trained) == (7, recipe.CASES[seed]["img"], True)
        assert card.version.startswith("sha256-")
    finally:
        for big in (checkpoint, out / "weights.safetensors"):
            big.unlink(missing_ok=True)


def import_apart(checkpoint: Path, out: Path) -> float:
    """Run the import command in a separate process; return its peak memory in bytes, mapped pages included."""
    code = (
        "import sys; from streamfx.cli.models import models; models(sys.argv[1:], standalone_mode=False);"
        "print('peak kB:', next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command = [sys.executable, "-c", code, "import", "mma-dfer", str(checkpoint), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "7 expressions" in done.stdout
    assert "no licence" in done.stderr and "research only" in done.stderr
    return float(done.stdout.split()[-1]) * 1024
