"""Reading the weights of others that Face-MLLM is built on: a language model, and a general picture encoder.

A language model is any of Llama's shape: a GGUF file, or a folder as Hugging Face keeps one (`config.json`,
`tokenizer.json`, `*.safetensors`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import MissingComponent, ModelError
from streamfx.models.ask import WORDS_FILE
from streamfx.models.backbones import BACKBONES, DINOV2, MADE_FILE, SMOLLM2, Backbone
from streamfx.models.card import write_weights
from streamfx.nets.llama import LlamaSizes, sizes_of, without_permutation
from streamfx.nets.vit import EncoderSizes
from streamfx.serving.words import ASK_PACKAGES, tokenizers_package

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LAYER_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_WHOLE_PARTS = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL = 3
"""Type of a token in a GGUF file that is no text, such as the end of a turn."""


DINOV2_SIZES = EncoderSizes(image_size=112, patch=14, dim=384, depth=12, heads=6)
"""DINOv2's encoder, for the faces that a tower sees."""


@dataclass(frozen=True)
class LanguageModel:
    """What is read of a language model: its sizes, the state of `nets.llama.Llama` in float32, and its tokenizer, which
    knows `<|im_start|>` and the like as single tokens."""

    sizes: LlamaSizes
    state: dict[str, Tensor]
    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        """See `models.prompt.Words`."""
        return list(self.tokenizer.encode(text).ids)


def load_language_model(place: str | Path = SMOLLM2.name) -> LanguageModel:
    """The language model of that name, or in that GGUF file or folder.

    Raises MissingComponent where the weights or a package are not here, ModelError where what is there has another shape.
    """
    path = Path(place)
    if str(place) in BACKBONES:
        BACKBONES[str(place)].contents()  # compares the digests
        path = BACKBONES[str(place)].folder / "model.gguf"
    if not path.exists():
        raise ModelError(
            f"no language model {str(place)!r}: expected a GGUF file, a folder with config.json, or {SMOLLM2.name}"
        )
    try:
        return _from_folder(path) if path.is_dir() else _from_gguf(path)
    except (KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: expected a language model of Llama's shape, got one that cannot be read: {error}"
        ) from error


def _from_gguf(path: Path) -> LanguageModel:
    try:
        import gguf
    except ImportError as error:
        raise MissingComponent(f"a GGUF file needs {ASK_PACKAGES}") from error
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get("general.architecture") != "llama":
        raise ValueError(f"general.architecture is {fields.get('general.architecture')!r}, not 'llama'")
    names = {tensor.name for tensor in reader.tensors}
    sizes = sizes_of(fields, tied="output.weight" not in names)
    heads = {"attn_q": sizes.heads, "attn_k": sizes.kv_heads}
    state: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        value = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).astype("float32"))
        if tensor.name in _WHOLE_PARTS:
            state[_WHOLE_PARTS[tensor.name]] = value
            continue
        _, number, part, _ = tensor.name.split(".")
        value = without_permutation(value, heads[part]) if part in heads else value
        state[f"layers.{number}.{_LAYER_PARTS[part]}.weight"] = value
    return LanguageModel(sizes, state, _tokenizer_of(fields))


def _tokenizer_of(fields: Mapping[str, Any]) -> Tokenizer:
    """The byte-level BPE that a GGUF file describes. Of the rules by which texts are cut beforehand, SmolLM2's is known."""
    from_ask = tokenizers_package()
    if fields.get("tokenizer.ggml.model") != "gpt2" or fields.get("tokenizer.ggml.pre") != "smollm":
        kind = f"{fields.get('tokenizer.ggml.model')}/{fields.get('tokenizer.ggml.pre')}"
        raise ValueError(
            f"its tokenizer is {kind!r}, not 'gpt2/smollm'; give the folder with its tokenizer.json instead"
        )
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = from_ask.Tokenizer(from_ask.models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    cut = from_ask.pre_tokenizers
    made.pre_tokenizer = cut.Sequence([cut.Digits(individual_digits=True), cut.ByteLevel(add_prefix_space=False)])
    made.decoder = from_ask.decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    made.add_special_tokens([from_ask.AddedToken(token, special=True) for token, kind in kinds if kind == _CONTROL])
    return made  # type: ignore[no-any-return]


def _from_folder(path: Path) -> LanguageModel:
    from safetensors.torch import load_file

    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "llama" or config.get("rope_scaling"):
        raise ValueError(
            f"config.json: expected model_type 'llama' without rope_scaling, got {config.get('model_type')!r}"
        )
    state = {
        name.removeprefix("model."): value.float()
        for part in sorted(path.glob("*.safetensors"))
        for name, value in load_file(part).items()
    }
    tied = bool(config.get("tie_word_embeddings"))
    if tied:
        state.pop("lm_head.weight", None)
    sizes = LlamaSizes(
        vocabulary=config["vocab_size"],
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
        hidden=config["intermediate_size"],
        rope_base=float(config.get("rope_theta", 10_000.0)),
        norm_eps=float(config["rms_norm_eps"]),
        tied=tied,
    )
    return LanguageModel(sizes, state, tokenizers_package().Tokenizer.from_file(str(path / "tokenizer.json")))


def make_ready(backbone: Backbone) -> None:
    """Make of a backbone's files, which must be here, what a served model and who asks it read; nothing where that was done.

    Raises MissingComponent without the packages, or where it cannot be written.
    """
    if backbone.is_ready:
        return
    words = None
    if backbone is DINOV2:
        state = dinov2_state(DINOV2_SIZES.grid)
    else:
        language = load_language_model(backbone.name)
        state, words = language.state, language.tokenizer
    state = {name: value.half().contiguous() for name, value in state.items()}
    try:
        if words is not None:
            words.save(str(backbone.folder / WORDS_FILE))
        write_weights(backbone.folder / MADE_FILE, state, backbone.metadata(state))
    except OSError as error:
        raise MissingComponent(f"cannot write into {backbone.folder}: {error.strerror or error}") from error


def dinov2_state(grid: int) -> dict[str, Tensor]:
    """The state of a `VitEncoder` (patches of 14, 384 wide, 12 blocks, 6 heads) for pictures of 14 · `grid` pixels in 0..1.

    ImageNet's normalisation is folded into the patch embedding, and DINOv2's layer scales into the projections behind
    them. Raises MissingComponent where the weights are not here.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(DINOV2.contents()["model.onnx"]).graph
    tensors = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    inputs = {node.name: list(node.input) for node in graph.node}
    products = {  # the matrices have names of their own in the file; the nodes that use them tell which is which
        node.name.strip("/").replace("/", ".").removesuffix(".MatMul"): tensors[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in tensors
    }
    first = tensors[inputs["/backbone/embeddings/Concat_6"][0]]
    places = tensors[inputs["/backbone/embeddings/Reshape_1"][0]]  # of 37 x 37 patches
    side = round(places.shape[1] ** 0.5)
    square = places.view(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    embed, stem = "backbone.embeddings.", "backbone.embeddings.patch_embeddings.projection."
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    weight = tensors[stem + "weight"] / deviation.view(1, 3, 1, 1)
    state = {
        "cls_token": tensors[embed + "cls_token"],
        "pos_embed": torch.cat((first, square.flatten(2).transpose(1, 2)), dim=1),
        "patch_embed.proj.weight": weight,
        "patch_embed.proj.bias": tensors[stem + "bias"] - (weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3)),
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    depth = sum(name.endswith(".mlp.fc1") for name in products)
    for number in range(depth):
        state |= _dinov2_block(number, tensors, products)
    return state


def _dinov2_block(number: int, tensors: Mapping[str, Tensor], products: Mapping[str, Tensor]) -> dict[str, Tensor]:
    theirs, ours = f"backbone.encoder.layer.{number}.", f"blocks.{number}."
    attention = [f"{theirs}attention.attention.{name}" for name in ("query", "key", "value")]
    out, fc1, fc2 = theirs + "attention.output.dense", theirs + "mlp.fc1", theirs + "mlp.fc2"
    scale1, scale2 = tensors[theirs + "layer_scale1.lambda1"], tensors[theirs + "layer_scale2.lambda1"]
    state = {
        f"{ours}{norm}.{part}": tensors[f"{theirs}{norm}.{part}"]
        for norm in ("norm1", "norm2")
        for part in ("weight", "bias")
    }
    return state | {
        ours + "attn.qkv.weight": torch.cat([products[name] for name in attention]),
        ours + "attn.qkv.bias": torch.cat([tensors[name + ".bias"] for name in attention]),
        ours + "attn.proj.weight": scale1[:, None] * products[out],
        ours + "attn.proj.bias": scale1 * tensors[out + ".bias"],
        ours + "mlp.fc1.weight": products[fc1].contiguous(),
        ours + "mlp.fc1.bias": tensors[fc1 + ".bias"],
        ours + "mlp.fc2.weight": scale2[:, None] * products[fc2],
        ours + "mlp.fc2.bias": scale2 * tensors[fc2 + ".bias"],
    }
