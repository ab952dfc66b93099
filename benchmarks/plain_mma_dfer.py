"""MMA-DFER as its paper and checkpoints describe it, written down plainly: what `big_net.py` measures against.

The whole clip goes through each layer at once in float32, with torch's own linear layers, norms and fused attention. The
answers equal those of the authors' code on the same weights. Nothing is computed that the authors' recipe could leave
out, so their code does no less than this.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.nets.mma_dfer import FRAMES, MmaDfer


def plain_logits(net: MmaDfer, frames: Tensor, fbank: Tensor) -> Tensor:
    """Logits [B, classes] of the float32 weights in `net`; inputs as for `MmaDfer`."""
    eyes, ears = net.image_encoder, net.audio_model
    image, audio = embedded(eyes, (frames.float() / 255).flatten(0, 1)), embedded(ears, fbank)
    for number in range(net.config.depth):
        image, audio = block(eyes.blocks[number], image), block(ears.blocks[number], audio)
        seen = eyes.temporal_pre_norm[number](eyes.temporal_pre[number](image))
        heard = eyes.audio_proj_pre[number](audio)
        by_frame = heard.mean(dim=1, keepdim=True).repeat_interleave(FRAMES, dim=0)
        by_clip = seen.view(len(audio), -1, seen.shape[-1]).mean(dim=1, keepdim=True)
        image = image + torch.tanh(eyes.all_gate[number]) * eyes.temporal_att_post[number](seen + by_frame)
        audio = audio + torch.tanh(ears.all_gate[number]) * ears.temporal_att_post[number](heard + by_clip)
        image, audio = prompted(eyes, image, number), prompted(ears, audio, number)
    said = eyes.norm(image)[:, 0].view(len(audio), FRAMES, -1) + ears.norm(audio)[:, :1]
    return net.our_classifier(net.temporal_net(net.vision_proj(said)))  # type: ignore[no-any-return]


def embedded(encoder: Any, pictures: Tensor) -> Tensor:
    """Patches with the CLS token before them and the prompts after them."""
    patches = encoder.patch_embed.proj(pictures).flatten(2).transpose(1, 2)
    first = encoder.cls_token.expand(len(patches), -1, -1)
    prompts = encoder.learnable_prompts_init.expand(len(patches), -1, -1)
    tokens: Tensor = torch.cat((first, patches, prompts), dim=1) + encoder.pos_embed
    return tokens


def block(part: Any, x: Tensor) -> Tensor:
    """One block of a ViT."""
    n, tokens, dim = x.shape
    qkv = part.attn.qkv(part.norm1(x)).reshape(n, tokens, 3, part.attn.heads, -1).permute(2, 0, 3, 1, 4)
    x = x + part.attn.proj(F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).reshape(n, tokens, dim))
    after: Tensor = x + part.mlp.fc2(F.gelu(part.mlp.fc1(part.norm2(x))))
    return after


def prompted(encoder: Any, tokens: Tensor, number: int) -> Tensor:
    """After the first block of each step, the step's values are added to its prompt tokens."""
    step, at = divmod(number, encoder.blocks_per_step)
    if at:
        return tokens
    more = encoder.learnable_prompts_progr[step]
    start = tokens.shape[1] - len(encoder.learnable_prompts_init) + step * len(more)
    before, fresh, after = tokens[:, :start], tokens[:, start : start + len(more)], tokens[:, start + len(more) :]
    return torch.cat((before, fresh + more, after), dim=1)
