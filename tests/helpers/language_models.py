"""A language model of a few thousand numbers, as a folder like Hugging Face's, whose tokens are single bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from streamfx.nets.llama import Llama, LlamaSizes

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SIZES = LlamaSizes(vocabulary=256 + len(SPECIAL), dim=32, depth=2, heads=4, kv_heads=2, hidden=64, rope_base=10_000.0)


def write_language_model(folder: Path, seed: int = 3) -> Path:
    """The folder, with random weights; returns it."""
    import tokenizers
    import tokenizers.decoders
    import tokenizers.models
    import tokenizers.pre_tokenizers as cut

    torch.manual_seed(seed)
    model = Llama(SIZES)
    tokens = [*SPECIAL, *sorted(cut.ByteLevel.alphabet())]
    words = tokenizers.Tokenizer(tokenizers.models.BPE({token: number for number, token in enumerate(tokens)}, []))
    words.pre_tokenizer = cut.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    words.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in SPECIAL])
    write_folder(folder, model)
    words.save(str(folder / "tokenizer.json"))
    return folder


def write_folder(folder: Path, model: Llama, **changes: Any) -> None:
    """The model's sizes and weights, these in two files."""
    folder.mkdir(parents=True)
    s = model.sizes
    config = {
        "model_type": "llama", "vocab_size": s.vocabulary, "hidden_size": s.dim, "num_hidden_layers": s.depth,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "intermediate_size": s.hidden,
        "rope_theta": s.rope_base, "rms_norm_eps": s.norm_eps, "tie_word_embeddings": s.tied, **changes,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    state = {
        ("" if name.startswith("lm_head") else "model.") + name: value for name, value in model.state_dict().items()
    }
    first = dict(list(state.items())[:5])
    save_file(first, folder / "model-00001-of-00002.safetensors")
    save_file({name: v for name, v in state.items() if name not in first}, folder / "model-00002-of-00002.safetensors")
