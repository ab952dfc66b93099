"""Import of FMAE's checkpoints: the same answers on normalised pictures, every key accounted for, no pickled code."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.models.action_units import ActionUnitsModel
from streamfx.models.find import read_card
from streamfx.nets.fmae import SIZES, Fmae, FmaeConfig
from streamfx.train.encoder_file import load_encoder
from streamfx.train.import_checkpoint import import_checkpoint
from streamfx.train.import_fmae import import_model
from streamfx.train.rand_augment import DEVIATION, MEAN


def shaped(size: str = "small", classes: int = 12, subjects: int = 0) -> dict[str, torch.Tensor]:
    """All keys with the authors' shapes; each tensor repeats one number, so that the file is small."""
    with torch.device("meta"):
        net = Fmae(FmaeConfig(classes=classes, **SIZES[size]))
    state = {name: torch.full((1,), 0.01).expand(value.shape) for name, value in net.state_dict().items()}
    if subjects:
        dim = SIZES[size]["dim"]
        state |= {"ID_head.weight": torch.zeros(1).expand(subjects, dim), "ID_head.bias": torch.zeros(subjects)}
    return state


def pretrained(size: str = "small") -> dict[str, torch.Tensor]:
    state = {name: value for name, value in shaped(size).items() if not name.startswith(("fc_norm", "head"))}
    dim = SIZES[size]["dim"]
    state |= {"norm.weight": torch.ones(dim), "norm.bias": torch.zeros(dim), "mask_token": torch.zeros(1, 1, 512)}
    return state | {
        "decoder_embed.weight": torch.zeros(1).expand(512, dim),
        "decoder_pos_embed": torch.zeros(1, 197, 512),
    }


def save(path: Path, state: Any) -> Path:
    content = {"model": state, "optimizer": {}, "epoch": 19, "scaler": {}, "args": argparse.Namespace(seed=0)}
    torch.save(content, path)
    return path


class WritesAFile:
    """A pickle that writes a file if it is loaded without precautions."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"echo owned > {self.victim}",)


def test_an_imported_net_answers_on_plain_pixels_as_the_authors_does_on_normalised_ones(tmp_path: Path) -> None:
    net = Fmae(FmaeConfig(**SIZES["small"])).eval()
    net.initialise(1)
    state = dict(net.state_dict()) | {"ID_head.weight": torch.zeros(41, 384), "ID_head.bias": torch.zeros(41)}
    summary = import_model("a file", "ab" * 32, {name: value.clone() for name, value in state.items()}, tmp_path / "m")
    assert summary.startswith("FMAE-IAT, 41 subjects:")
    ours = ActionUnitsModel.load(tmp_path / "m").net
    plain = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    with torch.no_grad():
        torch.testing.assert_close(ours(plain), net((plain - mean) / deviation), rtol=1e-4, atol=1e-5)


def test_an_iat_checkpoint_becomes_a_model_without_its_identity_head(tmp_path: Path) -> None:
    report = import_checkpoint(save(tmp_path / "c.pth", shaped(subjects=41)), tmp_path / "m")
    card = read_card(tmp_path / "m")
    assert (report.kind, card.name, card.architecture) == ("fmae", "fmae-iat", "fmae")
    assert card.labels[0] == "au_01" and card.labels[-1] == "au_24" and set(card.facts["thresholds"].values()) == {0.5}
    assert "CC BY-NC" in report.note


@pytest.mark.parametrize(("classes", "name"), [(12, "fmae"), (8, "fmae")])
def test_a_fine_tuned_checkpoint_without_adversary(tmp_path: Path, classes: int, name: str) -> None:
    state = shaped(classes=classes)
    del state["head.bias"]
    import_checkpoint(save(tmp_path / "c.pth", state), tmp_path / "m", "fmae")
    assert (read_card(tmp_path / "m").name, len(read_card(tmp_path / "m").labels)) == (name, classes)


def test_eight_outputs_may_be_expressions_unless_there_is_an_identity_head(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"DISFA's action units or AffectNet's expressions; give --kind fmae"):
        import_checkpoint(save(tmp_path / "c.pth", shaped(classes=8)), tmp_path / "m")
    import_checkpoint(save(tmp_path / "d.pth", shaped(classes=8, subjects=27)), tmp_path / "m")
    assert read_card(tmp_path / "m").labels[-1] == "au_26"


def test_a_pre_trained_checkpoint_becomes_an_encoder_file(tmp_path: Path) -> None:
    report = import_checkpoint(save(tmp_path / "c.pth", pretrained()), tmp_path / "face.safetensors")
    state, info = load_encoder(tmp_path / "face.safetensors")
    assert (report.kind, info.dim, info.depth, info.grid) == ("fmae-pretrained", 384, 12, (14, 14))
    assert not any(name.startswith(("decoder", "mask")) for name in state)


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    state = shaped(subjects=41)
    del state["fc_norm.bias"], state["blocks.3.attn.qkv.weight"]
    state["adapter"] = torch.zeros(1)
    state["head.weight"] = torch.zeros(12, 100)
    with pytest.raises(CheckpointMismatch) as caught:
        import_checkpoint(save(tmp_path / "c.pth", state), tmp_path / "m")
    said = str(caught.value)
    assert "missing: blocks.3.attn.qkv.weight, fc_norm.bias" in said
    assert "unexpected: adapter" in said
    assert "head.weight (expected [12, 384], got [12, 100])" in said
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ID_head.weight": torch.zeros(41, 7)}, r"ID_head: expected a weight \[subjects, 384\]"),
        ({"ID_head.weight": torch.zeros(40, 384)}, r"ID_head: expected a weight \[subjects, 384\]"),
        ({"patch_embed.proj.weight": torch.zeros(100, 3, 16, 16)}, r"with a width of 384, 768, 1024"),
        ({"head.weight": torch.zeros(5, 384), "head.bias": torch.zeros(5)}, r"expected 12 or 8 action units, got 5"),
    ],
)
def test_shapes_that_are_not_the_authors_are_refused(
    tmp_path: Path, change: dict[str, torch.Tensor], said: str
) -> None:
    with pytest.raises(CheckpointMismatch, match=said):
        import_checkpoint(save(tmp_path / "c.pth", shaped(subjects=41) | change), tmp_path / "m", "fmae")


def test_pickled_code_never_runs(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"model": shaped(), "args": WritesAFile(victim)}, tmp_path / "c.pth")
    import_checkpoint(tmp_path / "c.pth", tmp_path / "m")
    assert not victim.exists()
    torch.save({"model": {"fc_norm.weight": WritesAFile(victim)}}, tmp_path / "d.pth")
    with pytest.raises(ModelError):
        import_checkpoint(tmp_path / "d.pth", tmp_path / "n")
    assert not victim.exists()
