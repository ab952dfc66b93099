"""Import of MAE-Face and AudioMAE: real sizes, strict names, resized positions, and pickled code never runs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from streamfx.cli import models as cli_models
from streamfx.cli.models import models
from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.nets.mma_dfer import MmaDfer, MmaDferConfig
from streamfx.train import import_checkpoint as importing
from streamfx.train.encoder_file import load_encoder, resize_positions
from streamfx.train.import_checkpoint import import_checkpoint

KINDS = ("mae-face", "audiomae")
DECODER = {
    "mask_token": torch.zeros(1, 1, 512),
    "decoder_embed.weight": torch.zeros(512, 768),
    "decoder_blocks.0.attn.relative_position_index": torch.zeros(4, dtype=torch.int64),
}
"""Parts of a decoder; of MAE-Face's two files one has one."""


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A path for an encoder file of 0.3 GB, which is removed afterwards."""
    path = tmp_path / "encoder.safetensors"
    yield path
    path.unlink(missing_ok=True)


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes of ViT-B/16 as in timm, written out by hand."""
    found: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 197 if kind == "mae-face" else 513, 768),
        "patch_embed.proj.weight": (768, 3 if kind == "mae-face" else 1, 16, 16),
        "patch_embed.proj.bias": (768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
    }
    parts = {"norm1": (768,), "attn.qkv": (2304, 768), "attn.proj": (768, 768), "norm2": (768,)}
    parts |= {"mlp.fc1": (3072, 768), "mlp.fc2": (768, 3072)}
    for block in range(12):
        for name, shape in parts.items():
            found |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    return found


def light(kind: str) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors; each repeats one number, so that the file is small, but positions all differ."""
    state = {name: torch.full((1,), 0.01).expand(shape) for name, shape in shapes(kind).items()}
    state["pos_embed"] = torch.randn(shapes(kind)["pos_embed"], generator=torch.Generator().manual_seed(1))
    return state | (DECODER if kind == "audiomae" else {})


def save(path: Path, state: Any, **more: Any) -> Path:
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-3, mask_ratio=0.75), **more}, path)
    return path


def refusal(path: Path, out: Path, kind: Any = None) -> str:
    with pytest.raises(ModelError) as caught:
        import_checkpoint(path, out, kind)
    assert not out.exists()
    return str(caught.value)


def test_mae_face_becomes_a_face_encoder(tmp_path: Path, out: Path) -> None:
    state = light("mae-face")
    report = import_checkpoint(save(tmp_path / "c.pth", state, epoch=50), out)
    assert (report.kind, report.path) == ("mae-face", out)
    found, info = load_encoder(out)
    assert (info.kind, info.grid, info.heads, info.licence) == ("face", (14, 14), 12, "MIT")
    assert found.keys() == shapes("mae-face").keys()
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_a_vit_b_with_a_decoder_is_taken_for_nobodys_without_its_kind(tmp_path: Path, out: Path) -> None:
    """FMAE's and MAE-Face's have the same names and shapes, but expect other pixels."""
    file = save(tmp_path / "c.pth", light("mae-face") | DECODER)
    assert "give --kind fmae-pretrained or --kind mae-face (all kinds: mma-dfer," in refusal(file, out)
    import_checkpoint(file, out, "mae-face")
    plain = load_encoder(out)[0]
    assert plain.keys() == shapes("mae-face").keys(), "the decoder is dropped"
    out.unlink()
    assert import_checkpoint(file, out, "fmae-pretrained").kind == "fmae-pretrained"
    folded = load_encoder(out)[0]
    assert not torch.equal(folded["patch_embed.proj.weight"], plain["patch_embed.proj.weight"])


def test_audiomae_becomes_an_audio_encoder_with_positions_for_our_filter_bank(tmp_path: Path, out: Path) -> None:
    state = light("audiomae")
    import_checkpoint(save(tmp_path / "c.pth", state), out)
    found, info = load_encoder(out)
    assert (info.kind, info.grid) == ("audio", (32, 8))
    assert torch.equal(found["pos_embed"], resize_positions(state["pos_embed"], (64, 8), (32, 8)))
    assert torch.equal(found["blocks.11.mlp.fc2.bias"], state["blocks.11.mlp.fc2.bias"])


@pytest.mark.parametrize(("kind", "words"), [("mae-face", ["MIT"]), ("audiomae", ["CC-BY 4.0", "CC BY-NC 4.0"])])
def test_the_command_prints_its_result_and_the_licence(tmp_path: Path, out: Path, kind: str, words: list[str]) -> None:
    arguments = ["import", str(save(tmp_path / "c.pth", light(kind))), "--kind", kind, "--out", str(out)]
    outcome = CliRunner().invoke(models, arguments, catch_exceptions=False)
    assert f"{out}: {kind}, 150 tensors" in outcome.stdout
    assert all(word in outcome.stderr for word in words)


def test_the_command_requires_one_kind_and_one_file(tmp_path: Path) -> None:
    assert cli_models.KINDS == importing.KINDS
    path = str(save(tmp_path / "c.pth", {}))
    for words in (["resnet", path], ["mae-face", "audiomae", path], ["mae-face", path, "--kind", "mae-face"]):
        outcome = CliRunner().invoke(models, ["import", *words, "--out", str(tmp_path / "o")])
        assert outcome.exit_code == 2
        assert "expected [KIND] FILE" in outcome.stderr
    outcome = CliRunner().invoke(models, ["import", str(tmp_path / "absent"), "--out", str(tmp_path / "o")])
    assert "does not exist" in outcome.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_unexpected_and_wrong_shaped_key_is_named(tmp_path: Path, out: Path, kind: str) -> None:
    state = light(kind)
    del state["cls_token"], state["norm.weight"], state["norm.bias"]
    state["fc_norm.weight"] = state["head.bias"] = torch.zeros(768)
    state["blocks.3.attn.qkv.weight"] = torch.zeros(768, 768)
    state["pos_embed"] = torch.zeros(1, 300, 768)
    with pytest.raises(CheckpointMismatch) as caught:
        import_checkpoint(save(tmp_path / "c.pth", state), out)
    message = str(caught.value)
    assert "missing: cls_token, norm.weight, norm.bias\n" in message
    assert "unexpected: fc_norm.weight, head.bias\n" in message
    assert "blocks.3.attn.qkv.weight (expected [2304, 768], got [768, 768])" in message
    assert f"pos_embed (expected {list(shapes(kind)['pos_embed'])}, got [1, 300, 768])" in message
    assert not out.exists()


def test_a_kind_that_does_not_match_the_file_is_refused(tmp_path: Path, out: Path) -> None:
    sound = save(tmp_path / "c.pth", light("audiomae"))
    assert "patch_embed.proj.weight (expected [768, 3, 16, 16], got [768, 1, 16, 16])" in refusal(
        sound, out, "mae-face"
    )
    assert "expected a dict with a `state_dict`" in refusal(sound, out, "mma-dfer")
    torch.save({"weights": {}}, tmp_path / "other.pth")
    assert "MAE-Face" in refusal(tmp_path / "other.pth", out)
    assert "something else at cls_token" in refusal(
        save(tmp_path / "i.pth", light("mae-face") | {"cls_token": torch.zeros(1, 1, 768, dtype=torch.int64)}), out
    )


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, out: Path) -> None:
    state = light("mae-face")
    state["norm.bias"] = torch.full((768,), torch.inf)
    assert "norm.bias: expected finite weights" in refusal(save(tmp_path / "c.pth", state), out)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("mine")
    with pytest.raises(ModelError, match="is there already"):
        import_checkpoint(save(tmp_path / "c.pth", light("mae-face")), tmp_path / "o")
    assert (tmp_path / "o").read_text() == "mine"


class Runs:
    """A pickle that writes a file if it is loaded without precautions."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"echo owned > {self.victim}",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_arguments_pickled_beside_the_weights_never_run(tmp_path: Path, out: Path, kind: str, wrapped: bool) -> None:
    victim = tmp_path / "owned"
    arguments = argparse.Namespace(lr=1e-3, hook=Runs(victim)) if wrapped else Runs(victim)
    path = save(tmp_path / "c.pth", light(kind), **{"args": arguments})
    import_checkpoint(path, out)
    assert not victim.exists()
    torch.load(path, weights_only=False)
    assert victim.exists(), "the file is harmless: this test would prove nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mma-dfer", *KINDS])
def test_memory_stays_below_twice_the_files_size(tmp_path: Path, kind: str) -> None:
    """The file has real sizes, random numbers, and the optimizer's state or the decoder that such files carry."""
    checkpoint, out = tmp_path / "c.pth", tmp_path / "out"
    write_real(checkpoint, kind)
    size = checkpoint.stat().st_size
    peak = peak_of_import(checkpoint, kind, out)
    for path in (checkpoint, out, out / "weights.safetensors"):
        if path.is_file():
            path.unlink()
    assert size > 0.4e9
    assert peak < 2 * size, f"{peak / 1e9:.2f} GB for a file of {size / 1e9:.2f} GB"


def write_real(path: Path, kind: str) -> None:
    if kind == "mma-dfer":
        with torch.device("meta"):
            state = MmaDfer(MmaDferConfig()).state_dict()
        weights = {f"module.{name}": torch.randn(value.shape) for name, value in state.items()}
        torch.save({"state_dict": weights, "optimizer": torch.zeros(15_000_000)}, path)
        return
    weights = {name: torch.randn(shape) for name, shape in shapes(kind).items()}
    save(path, weights | {"decoder_all": torch.randn(26_000_000)})


def peak_of_import(checkpoint: Path, kind: str, out: Path) -> float:
    """Import in a separate process; return its peak memory, mapped pages of the file and Python included, bytes."""
    code = (
        "import sys; from streamfx.cli.models import models; models(sys.argv[1:], standalone_mode=False);"
        "print('kB', next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command = [sys.executable, "-c", code, "import", kind, str(checkpoint), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1]) * 1024
