"""The tokenizer of a model that reads text, for who asks it; the model's server needs none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfx.errors import MissingComponent, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


ASK_PACKAGES = "the packages of Face-MLLM: pip install 'streamfx[ask]'"
"""What who asks a model that reads text must have."""


class FileWords:
    """The tokenizer in a file as Hugging Face's `tokenizers` keeps one."""

    def __init__(self, file: Path, vocabulary: str):
        """`vocabulary` is the digest that is expected. MissingComponent without the package, ModelError for another file."""
        kind = tokenizers_package().Tokenizer
        try:
            self._tokenizer: Tokenizer = kind.from_file(str(file))
        except Exception as error:  # the package raises nothing more special
            raise ModelError(f"{file}: expected a tokenizer of the package tokenizers: {error}") from error
        if (found := vocabulary_digest(self._tokenizer)) != vocabulary:
            raise ModelError(
                f"{file}: its words are not those that the model was trained with (expected {vocabulary}, got {found}); "
                "take the file that came with the model"
            )

    def encode(self, text: str) -> list[int]:
        """See `models.prompt.Words`."""
        return list(self._tokenizer.encode(text).ids)


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """12 hex digits of all tokens with their numbers."""
    listed = json.dumps(sorted(tokenizer.get_vocab(with_added_tokens=True).items()))
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


def tokenizers_package() -> Any:
    """The package `tokenizers` with its parts; MissingComponent names the extra."""
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
    except ImportError as error:
        raise MissingComponent(f"a tokenizer needs {ASK_PACKAGES}") from error
    return tokenizers
