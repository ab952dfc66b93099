"""Language models of Llama's shape are read from GGUF files and from folders alike, and SmolLM2 speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import language_models
from helpers.lacking import lacks

from streamfx.errors import MissingComponent, ModelError
from streamfx.models.backbones import DINOV2, SMOLLM2
from streamfx.models.outside_files import FOLDER_ENV
from streamfx.nets.llama import Llama, LlamaSizes
from streamfx.nets.vit import VitEncoder
from streamfx.train.language import LanguageModel, dinov2_state, load_language_model

gguf = pytest.importorskip("gguf", reason="pip install 'streamfx[ask]'")
tokenizers = pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

SIZES = LlamaSizes(vocabulary=12, dim=32, depth=2, heads=4, kv_heads=2, hidden=64, rope_base=10_000.0)
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "Ġ", "ab", "Ġab", "1", "2", "Ċ"]
MERGES = ["a b", "Ġ ab"]
KINDS = [3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def net(tied: bool) -> Llama:
    torch.manual_seed(3)
    return Llama(LlamaSizes(**{**vars(SIZES), "tied": tied}))


def paired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows i and i + half of each head, next to each other, as GGUF files keep them."""
    out, dim = weight.shape
    return weight.view(heads, 2, out // heads // 2, dim).transpose(1, 2).reshape(out, dim)


def write_gguf(path: Path, model: Llama, **changes: Any) -> Path:
    s = model.sizes
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_vocab_size(s.vocabulary)
    writer.add_embedding_length(s.dim)
    writer.add_block_count(s.depth)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_feed_forward_length(s.hidden)
    writer.add_rope_freq_base(s.rope_base)
    writer.add_layer_norm_rms_eps(s.norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types(KINDS)
    writer.add_token_merges(MERGES)
    names = {
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    whole = {
        "embed_tokens.weight": "token_embd.weight",
        "norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    for name, value in model.state_dict().items():
        if name in whole:
            writer.add_tensor(whole[name], value.numpy())
            continue
        number, part = name.removeprefix("layers.").removesuffix(".weight").split(".", 1)
        heads = {"self_attn.q_proj": s.heads, "self_attn.k_proj": s.kv_heads}.get(part)
        value = paired(value, heads) if heads else value
        writer.add_tensor(f"blk.{number}.{names[part]}.weight", value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_folder(path: Path, model: Llama, **changes: Any) -> Path:
    language_models.write_folder(path, model, **changes)
    cut = tokenizers.pre_tokenizers
    words = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(TOKENS)}, [("a", "b"), ("Ġ", "ab")]))
    words.pre_tokenizer = cut.Sequence([cut.Digits(individual_digits=True), cut.ByteLevel(add_prefix_space=False)])
    words.decoder = tokenizers.decoders.ByteLevel()
    words.add_special_tokens([tokenizers.AddedToken(t, special=True) for t in TOKENS[:3]])
    words.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", ["gguf", "folder"])
def test_sizes_weights_and_tokens_are_read(tmp_path: Path, form: str, tied: bool) -> None:
    model = net(tied)
    place = write_gguf(tmp_path / "m.gguf", model) if form == "gguf" else write_folder(tmp_path / "m", model)
    read = load_language_model(place)
    again = Llama(read.sizes)
    again.load_state_dict(read.state)
    assert read.sizes.tied == tied and read.sizes.kv_heads == 2
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    ids = read.tokenizer.encode("<|im_start|>ab ab12\nc").ids
    assert ids == [1, 7, 8, 9, 10, 11, 5]
    assert read.tokenizer.decode(ids) == "ab ab12\nc"


@pytest.mark.parametrize("changes", [{"architecture": "qwen2"}, {"pre": "llama-bpe"}])
def test_a_file_of_another_kind_is_named_with_what_it_is(tmp_path: Path, changes: dict[str, str]) -> None:
    path = write_gguf(tmp_path / "m.gguf", net(True), **changes)
    with pytest.raises(ModelError, match=rf"m\.gguf: .*{next(iter(changes.values()))}"):
        load_language_model(path)


@pytest.mark.parametrize("changes", [{"model_type": "gemma"}, {"rope_scaling": {"type": "yarn"}}])
def test_a_folder_of_another_shape_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="expected model_type 'llama' without rope_scaling"):
        load_language_model(write_folder(tmp_path / "m", net(True), **changes))


def test_a_file_that_is_no_model_and_a_name_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF of nothing" * 10)
    with pytest.raises(ModelError, match=r"m\.gguf: expected a language model"):
        load_language_model(tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=f"expected a GGUF file, .* or {SMOLLM2.name}"):
        load_language_model("llama-9000")


def test_weights_that_are_not_here_are_named_with_their_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path))
    for wanted in (lambda: load_language_model(), lambda: dinov2_state(8)):
        with pytest.raises(MissingComponent, match="`streamfx models fetch --ask`"):
            wanted()


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    if not SMOLLM2.is_here:
        lacks("SmolLM2", "streamfx models fetch --ask")
    return load_language_model()


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_says_what_it_is_known_to_say(smollm2: LanguageModel) -> None:
    model = Llama(smollm2.sizes)
    model.load_state_dict(smollm2.state)
    words = smollm2.tokenizer
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    x, past, place, said = torch.tensor([words.encode(text).ids]), None, 0, list[int]()
    while not said or (said[-1] != 2 and len(said) < 20):
        places = torch.arange(place, place + x.shape[1])[None]
        mask = torch.arange(place + x.shape[1])[None, None] <= places[:, :, None]
        hidden, past = model(model.embed_tokens(x), places, mask, past)
        place += x.shape[1]
        x = model.logits(hidden[:, -1:]).argmax(dim=-1)
        said.append(int(x))
    assert words.decode(said) == "The capital of France is Paris."


@pytest.mark.slow
@torch.no_grad()
def test_dinov2_sees_as_the_graph_in_its_package_does() -> None:
    if not DINOV2.is_here:
        lacks("DINOv2", "streamfx models fetch --ask")
    import onnx
    import onnxruntime

    graph = onnx.load_model_from_string(DINOV2.contents()["model.onnx"])
    last = [node.output[0] for node in graph.graph.node if node.name.startswith("/backbone/layernorm")][-1]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(last, 1, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    faces = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normed = (faces - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    (theirs,) = session.run([last], {"input_image": normed.numpy()})
    ours = VitEncoder(3, 16 * 16, 0, 14, 384, 12, 6, 4, 0)
    ours.load_state_dict(dinov2_state(16))
    x = torch.cat((ours.cls_token, ours.patch_embed(faces)), dim=1) + ours.pos_embed
    for block in ours.blocks:
        x = block(x)
    torch.testing.assert_close(ours.norm(x), torch.from_numpy(theirs), rtol=1e-3, atol=1e-3)
