"""What is made of the weights of others for a served model: it must be of these very files, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.language_models import write_language_model
from safetensors.torch import load_file, save_file

from streamfx.errors import MissingComponent
from streamfx.models.backbones import MADE_FILE, Backbone
from streamfx.models.outside_files import FOLDER_ENV
from streamfx.train import language

STATE = {"b": torch.arange(4).half(), "a": torch.ones(2, 3).half()}


def backbone(digest: str = "0" * 64) -> Backbone:
    return Backbone("net-1", "somebody-s-net", "1", "MIT", {"model.bin": ("net/model.bin", digest)}, "1" * 64)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path))
    one = backbone()
    one.folder.mkdir()
    save_file(STATE, one.folder / MADE_FILE, one.metadata(STATE))
    return one


def test_the_state_is_what_was_made(made: Backbone) -> None:
    assert made.is_ready
    state = made.state()
    assert state.keys() == STATE.keys() and all(torch.equal(value, STATE[name]) for name, value in state.items())


def test_what_was_made_of_other_files_is_not_taken(made: Backbone) -> None:
    other = backbone("2" * 64)
    assert other.folder == made.folder and not other.is_ready
    with pytest.raises(MissingComponent, match=r"not ready .* `streamfx models fetch --ask`"):
        other.state()


def test_damage_is_found(made: Backbone) -> None:
    path = made.folder / MADE_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MissingComponent, match=r"damaged; remove it, then `streamfx models fetch --ask`"):
        made.state()
    path.write_bytes(content[:-1])
    assert not made.is_ready


def test_a_language_model_is_made_ready_once_with_its_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path))
    read = language.load_language_model(write_language_model(tmp_path / "llm"))
    monkeypatch.setattr(language, "load_language_model", lambda place: read)
    one = backbone()
    one.folder.mkdir()
    language.make_ready(one)
    assert one.is_ready and json.loads(one.made("tokenizer.json").read_text())["model"]["type"] == "BPE"
    told = load_file(one.folder / MADE_FILE)
    assert all(torch.equal(told[name], value.half()) for name, value in read.state.items())
    before = (one.folder / MADE_FILE).stat().st_mtime_ns
    language.make_ready(one)
    assert (one.folder / MADE_FILE).stat().st_mtime_ns == before
