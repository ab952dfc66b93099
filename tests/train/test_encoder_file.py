"""Encoder files: they load as saved, other files are refused, and a net made from two files holds their weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from streamfx.errors import CheckpointMismatch, ModelError
from streamfx.nets.mma_dfer import FROZEN_PARTS, MmaDfer, MmaDferConfig
from streamfx.train.encoder_file import EncoderInfo, load_encoder, net_from_encoders, resize_positions, save_encoder

FACE = EncoderInfo("face", 16, 16, 2, 2, 2, (2, 2), "MIT", "a test")
AUDIO = dataclasses.replace(FACE, kind="audio", grid=(32, 8))
SIZES = MmaDferConfig(
    image_size=48, dim=16, depth=2, heads=2, mlp_ratio=2, latent=4, image_head=0, audio_head=0,
    temporal_dim=8, temporal_heads=1, temporal_head_dim=8, temporal_mlp=8,
)  # fmt: skip


def weights(info: EncoderInfo, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(value.shape, generator=generator) for key, value in info.encoder().state_dict().items()}


def saved(path: Path, info: EncoderInfo, seed: int = 0) -> Path:
    save_encoder(path, weights(info, seed), info)
    return path


@pytest.mark.parametrize("info", [FACE, AUDIO])
def test_a_saved_encoder_loads_unchanged(tmp_path: Path, info: EncoderInfo) -> None:
    state, found = load_encoder(saved(tmp_path / "new" / "e.safetensors", info))
    assert found == info
    assert state.keys() == weights(info).keys()
    assert all(torch.equal(state[key], value) for key, value in weights(info).items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["e.safetensors"]


def test_tensors_that_are_not_the_encoders_are_not_written(tmp_path: Path) -> None:
    state = weights(FACE)
    state["decoder_pred.bias"] = state.pop("cls_token")
    with pytest.raises(CheckpointMismatch, match=r"missing: cls_token\n.*unexpected: decoder_pred.bias"):
        save_encoder(tmp_path / "e.safetensors", state, FACE)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write the encoder file"):
        save_encoder(tmp_path / "file" / "e.safetensors", weights(FACE), FACE)


def test_files_that_are_not_encoders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tensors")
    save_file(weights(FACE), tmp_path / "bare")
    for name, text in {"broken": "{", "list": "[]", "short": '{"kind": "face", "grid": [2, 2]}'}.items():
        save_file(weights(FACE), tmp_path / name, metadata={"streamfx_encoder": text})
    found = {"absent": "cannot read", "text": "cannot read", "bare": "expected an encoder file"}
    found |= dict.fromkeys(("broken", "list", "short"), "expected JSON with kind, patch")
    for name, message in found.items():
        with pytest.raises(ModelError, match=message):
            load_encoder(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", [{"kind": "nose"}, {"grid": (2, 0)}, {"grid": (2, 2, 2)}, {"depth": 0}, {"heads": 3}, {"dim": "x"}]
)
def test_impossible_encoders_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|multiple"):
        dataclasses.replace(FACE, **wrong)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.floats(-3, 3, width=32),
)
def test_resized_positions_keep_cls_and_constant_embeddings(
    old: tuple[int, int], new: tuple[int, int], value: float
) -> None:
    positions = torch.full((1, 1 + old[0] * old[1], 4), value)
    positions[:, 0] = 7
    resized = resize_positions(positions, old, new)
    assert resized.shape == (1, 1 + new[0] * new[1], 4)
    assert (resized[:, 0] == 7).all()
    torch.testing.assert_close(resized[:, 1:], torch.full_like(resized[:, 1:], value), atol=1e-5, rtol=1e-5)
    assert resize_positions(positions, old, old) is positions


def test_resizing_keeps_rows_and_columns_apart() -> None:
    """A ramp down the rows of a 64 x 8 grid is, halved, a ramp down 32 rows: each new row lies between two old ones."""
    ramp = torch.arange(64.0).repeat_interleave(8)
    positions = torch.cat((torch.zeros(1), ramp))[None, :, None]
    halved = resize_positions(positions, (64, 8), (32, 8))[0, 1:, 0].reshape(32, 8)
    torch.testing.assert_close(halved[1:-1, 3], torch.arange(32.0)[1:-1] * 2 + 0.5, atol=1e-4, rtol=0)
    assert (halved == halved[:, :1]).all()


def test_positions_of_another_grid_are_refused() -> None:
    with pytest.raises(ModelError, match=r"expected \[1, 7, dim\] for a grid of 2 x 3"):
        resize_positions(torch.zeros(1, 5, 4), (2, 3), (4, 4))


def test_a_net_from_two_encoders_holds_their_frozen_parts(tmp_path: Path) -> None:
    face, audio = saved(tmp_path / "f", FACE, 1), saved(tmp_path / "a", AUDIO, 2)
    net = net_from_encoders(face, audio, SIZES, seed=5)
    fresh = MmaDfer(SIZES)
    fresh.initialise(5)
    for encoder, info, seed in (("image_encoder", FACE, 1), ("audio_model", AUDIO, 2)):
        state = weights(info, seed)
        for name, value in net.state_dict().items():
            part = name.removeprefix(f"{encoder}.")
            if part in state and part != "pos_embed":
                assert part.split(".")[0] in FROZEN_PARTS
                assert torch.equal(value, state[part])
    untouched = set(net.trainable_parameters()) - {"image_encoder.pos_embed", "audio_model.pos_embed"}
    assert untouched == set(fresh.trainable_parameters()) - {"image_encoder.pos_embed", "audio_model.pos_embed"}
    assert all(torch.equal(net.state_dict()[name], fresh.state_dict()[name]) for name in untouched)


def test_positions_are_resized_and_prompts_get_rows_of_their_own(tmp_path: Path) -> None:
    face, audio = saved(tmp_path / "f", FACE, 1), saved(tmp_path / "a", AUDIO, 2)
    net = net_from_encoders(face, audio, SIZES, seed=5)
    expected = resize_positions(weights(FACE, 1)["pos_embed"], (2, 2), (3, 3))
    assert torch.equal(net.image_encoder.pos_embed[:, :10], expected)
    assert torch.equal(net.audio_model.pos_embed[:, :257], weights(AUDIO, 2)["pos_embed"])
    rows = torch.cat((net.image_encoder.pos_embed[:, 10:], net.audio_model.pos_embed[:, 257:]), dim=1)
    assert rows.shape == (1, 12, 16)
    assert 0.8 < float(rows.detach().std()) < 1.2
    again = net_from_encoders(face, audio, SIZES, seed=5).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in net.state_dict().items())


def test_encoders_of_other_sizes_or_kind_are_refused(tmp_path: Path) -> None:
    face, audio = saved(tmp_path / "f", FACE), saved(tmp_path / "a", AUDIO)
    with pytest.raises(CheckpointMismatch, match=r"depth \(expected 4, got 2\), heads \(expected 4, got 2\)"):
        net_from_encoders(face, audio, dataclasses.replace(SIZES, depth=4, heads=4), 0)
    with pytest.raises(CheckpointMismatch, match=r"kind \(expected face, got audio\)"):
        net_from_encoders(audio, face, SIZES, 0)


def test_a_net_of_one_modality_needs_only_that_encoder(tmp_path: Path) -> None:
    face, audio = saved(tmp_path / "f", FACE), saved(tmp_path / "a", AUDIO)
    net_from_encoders(face, tmp_path / "absent", dataclasses.replace(SIZES, modalities=("face",)), 0)
    net_from_encoders(tmp_path / "absent", audio, dataclasses.replace(SIZES, modalities=("sound",)), 0)
