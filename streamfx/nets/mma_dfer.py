"""MMA-DFER (arXiv 2404.09010): recognises an expression from the frames of a face and the sound with them.

Two frozen MAE ViT encoders, one for face frames and one for the log-mel filter bank, run in step. Each carries
learned prompt tokens, and after every block the two exchange information through a narrow gated bottleneck. A small
temporal transformer reads one token per frame. Parameters are named as in the authors' checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.vit import VitEncoder

FRAMES = 16
"""Frames of a window."""
FBANK_ROWS = 512
"""Rows of the filter bank, 10 ms each."""
FBANK_BINS = 128
"""Mel bins of the filter bank."""
LABELS_7 = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""Classes of DFEW, in the order of the logits."""
LABELS_11 = (*LABELS_7, "contempt", "anxiety", "helplessness", "disappointment")
"""Classes of MAFW, in the order of the logits."""
FROZEN_PARTS = ("cls_token", "patch_embed", "blocks", "norm", "head")
"""Parts of both encoders that keep their pre-trained values."""
MODALITIES = ("face", "sound")
"""Possible inputs of the net; the authors' net uses both."""


@dataclass(frozen=True)
class MmaDferConfig:
    """Sizes and parts of the net; the defaults are the authors' (ViT-B/16, DFEW, 224 px, all parts).

    A part that is switched off has no parameters and takes no time: the rows of the ablation table are such nets.
    """

    classes: int = 7
    """Number of expressions that the net distinguishes."""
    image_size: int = 224
    """Side of the square frames, pixels; a multiple of `patch`."""
    patch: int = 16
    """Side of a patch of a frame and of the filter bank."""
    dim: int = 768
    """Width of the encoders."""
    depth: int = 12
    """Blocks of each encoder; a multiple of `prompt_steps`."""
    heads: int = 12
    """Attention heads of the encoders."""
    mlp_ratio: int = 4
    """Hidden width of the encoders' MLPs, as a multiple of their width."""
    latent: int = 128
    """Width of the fusion bottleneck."""
    prompts_per_step: int = 3
    """Prompt tokens that each progressive step refreshes; 0: no prompts."""
    prompt_steps: int = 2
    """Progressive steps, spread evenly over the blocks."""
    image_head: int = 12
    """Outputs of the unused classifier in the image encoder; 0: none."""
    audio_head: int = 1000
    """Outputs of the unused classifier in the audio encoder; 0: none."""
    temporal_dim: int = 512
    """Width of the temporal transformer."""
    temporal_heads: int = 8
    """Attention heads of the temporal transformer."""
    temporal_head_dim: int = 64
    """Width of one attention head of the temporal transformer."""
    temporal_mlp: int = 1024
    """Hidden width of the temporal transformer's MLP."""
    temporal_depth: int = 1
    """Layers of the temporal transformer."""
    bottleneck: bool = True
    """Whether the two encoders exchange information after every block; it has no effect with one modality."""
    temporal: bool = True
    """Whether the temporal transformer reads the frames; without it the classifier sees their mean."""
    modalities: tuple[Literal["face", "sound"], ...] = ("face", "sound")
    """Inputs that the net uses; `forward` accepts the other input and ignores it."""

    def __post_init__(self) -> None:
        # JSON and YAML know lists only.
        object.__setattr__(self, "modalities", tuple(self.modalities))
        if self.modalities not in (MODALITIES, MODALITIES[:1], MODALITIES[1:]):
            raise ValueError(f"modalities must be face, sound or both in this order, got {list(self.modalities)}")
        if not (isinstance(self.bottleneck, bool) and isinstance(self.temporal, bool)):
            raise ValueError(f"bottleneck and temporal must be true or false, got {self.bottleneck}, {self.temporal}")
        parts = ("bottleneck", "temporal", "modalities")
        may_be_0 = ("image_head", "audio_head", "prompts_per_step")
        sizes = {name: size for name, size in vars(self).items() if name not in parts}
        if any(type(size) is not int or size < (name not in may_be_0) for name, size in sizes.items()):
            raise ValueError(
                f"every size of MMA-DFER must be a whole number of at least 1 ({', '.join(may_be_0)}: 0), got {self}"
            )
        if self.image_size % self.patch or FBANK_ROWS % self.patch or FBANK_BINS % self.patch:
            raise ValueError(
                f"image_size {self.image_size} and the filter bank must be multiples of patch {self.patch}"
            )
        if self.dim % self.heads or self.depth % self.prompt_steps:
            raise ValueError("dim must be a multiple of heads, and depth of prompt_steps")

    @property
    def prompts(self) -> int:
        """Prompt tokens of each encoder."""
        return self.prompts_per_step * self.prompt_steps

    @property
    def exchange(self) -> bool:
        """Whether there is a bottleneck between two encoders."""
        return self.bottleneck and self.modalities == MODALITIES

    @property
    def image_patches(self) -> int:
        """Patches of one frame."""
        return (self.image_size // self.patch) ** 2

    @property
    def audio_patches(self) -> int:
        """Patches of the filter bank."""
        return (FBANK_ROWS // self.patch) * (FBANK_BINS // self.patch)


class PromptedEncoder(VitEncoder):
    """A ViT encoder with learned prompt tokens after its patches, and the layers that receive from the bottleneck."""

    def __init__(self, config: MmaDferConfig, channels: int, patches: int, head: int):
        super().__init__(
            channels,
            patches,
            config.prompts,
            config.patch,
            config.dim,
            config.depth,
            config.heads,
            config.mlp_ratio,
            head,
        )
        self.prompts_per_step = config.prompts_per_step
        self.blocks_per_step = config.depth // config.prompt_steps
        if config.prompts:
            self.learnable_prompts_init = nn.Parameter(torch.zeros(config.prompts, config.dim))
            self.learnable_prompts_progr = nn.ParameterList(
                torch.zeros(config.prompts_per_step, config.dim) for _ in range(config.prompt_steps)
            )
        if config.exchange:
            self.temporal_att_post = nn.ModuleList(
                nn.Sequential(nn.Linear(config.latent, config.dim), nn.GELU()) for _ in range(config.depth)
            )
            self.all_gate = nn.ParameterList(torch.zeros(1) for _ in range(config.depth))

    def embed(self, pictures: Tensor) -> Tensor:
        """[N, channels, height, width] -> [N, 1 + patches + prompts, dim], position embedding added."""
        patches = self.patch_embed(pictures)
        tokens = [self.cls_token.expand(patches.shape[0], -1, -1), patches]
        if self.prompts_per_step:
            tokens.append(self.learnable_prompts_init.expand(patches.shape[0], -1, -1))
        return torch.cat(tokens, dim=1) + self.pos_embed

    def receive(self, tokens: Tensor, latent: Tensor, block: int) -> Tensor:
        """Add what the bottleneck holds (`latent` [N, tokens, latent]) to `tokens`, through the block's gate."""
        gate = torch.tanh(self.all_gate[block])
        return torch.addcmul(tokens, gate, self.temporal_att_post[block](latent))

    def refresh_prompts(self, tokens: Tensor, block: int) -> Tensor:
        """After the first block of a progressive step, add that step's learned values to its prompt tokens."""
        step, at = divmod(block, self.blocks_per_step)
        if at or not self.prompts_per_step:
            return tokens
        after = (len(self.learnable_prompts_progr) - step - 1) * self.prompts_per_step
        before = tokens.shape[1] - after - self.prompts_per_step
        return tokens + F.pad(self.learnable_prompts_progr[step], (0, 0, before, after))


class ImageEncoder(PromptedEncoder):
    """Encoder of the face. As in the checkpoints, it also holds the layers from both encoders into the bottleneck."""

    def __init__(self, config: MmaDferConfig):
        super().__init__(config, channels=3, patches=config.image_patches, head=config.image_head)
        if not config.exchange:
            return
        dim, latent, depth = config.dim, config.latent, config.depth
        self.audio_proj_pre = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, latent), nn.LayerNorm(latent)) for _ in range(depth)
        )
        self.temporal_pre = nn.ModuleList(nn.Linear(dim, latent) for _ in range(depth))
        self.temporal_pre_norm = nn.ModuleList(nn.LayerNorm(latent) for _ in range(depth))


class TemporalAttention(nn.Module):
    """Multi-head self-attention over time; queries have a projection apart from keys and values, both without bias."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.to_q = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, dim] -> [B, tokens, dim]."""
        b, tokens, _ = x.shape
        q = self.to_q(x).view(b, tokens, self.heads, self.head_dim).transpose(1, 2)
        k, v = self.to_kv(x).view(b, tokens, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(y.transpose(1, 2).reshape(b, tokens, -1))  # type: ignore[no-any-return]


class TemporalMlp(nn.Module):
    """Two linear layers with tanh-approximate GELU; dropout, kept in the checkpoints' numbering, is zero."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Identity(), nn.Linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return self.net(x)  # type: ignore[no-any-return]


class PreNorm(nn.Module):
    """LayerNorm before `fn`. The checkpoints hold a `norm2`, which no forward pass uses."""

    def __init__(self, dim: int, fn: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return self.fn(self.norm(x))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Adds its input to the output of `fn`."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        return x + self.fn(x)  # type: ignore[no-any-return]


class TemporalLayers(nn.Module):
    """Layers of attention over time and MLP."""

    def __init__(self, config: MmaDferConfig):
        super().__init__()
        dim = config.temporal_dim
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    Residual(PreNorm(dim, TemporalAttention(dim, config.temporal_heads, config.temporal_head_dim))),
                    Residual(PreNorm(dim, TemporalMlp(dim, config.temporal_mlp))),
                )
            )
            for _ in range(config.temporal_depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, dim] -> [B, tokens, dim]."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            for part in layer:
                x = part(x)
        return x


class TemporalNet(nn.Module):
    """Reads one token per frame and returns one vector per window."""

    def __init__(self, config: MmaDferConfig):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.temporal_dim))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + FRAMES, config.temporal_dim))
        self.temporal_transformer = TemporalLayers(config)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 16, dim] -> [B, dim]."""
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embedding
        return self.temporal_transformer(x)[:, 0]  # type: ignore[no-any-return]


class MmaDfer(nn.Module):
    """The whole net. Its parameters are zero or torch's defaults until `initialise` or a checkpoint sets them.

    `temporal_net`, `image_encoder` and `audio_model` exist only where `config` has these parts.
    """

    by_frame = False
    """Whether a CPU takes a frame at a time through each block. Nothing can be trained so, and float32 is no faster."""

    def __init__(self, config: MmaDferConfig):
        super().__init__()
        self.config = config
        if config.temporal:
            self.temporal_net = TemporalNet(config)
        self.our_classifier = nn.Linear(config.temporal_dim, config.classes)
        self.vision_proj = nn.Linear(config.dim, config.temporal_dim)
        if "face" in config.modalities:
            self.image_encoder = ImageEncoder(config)
        if "sound" in config.modalities:
            self.audio_model = PromptedEncoder(config, channels=1, patches=config.audio_patches, head=config.audio_head)

    def forward(self, frames: Tensor, fbank: Tensor) -> Tensor:
        """Logits float [B, classes].

        `frames` [B, 16, 3, S, S] RGB: uint8, or float in 0..1. `fbank` float [B, 1, 512, 128], normalised. Wrong shapes
        raise torch's RuntimeError; the serving layer checks them first.
        """
        return self.classify(self.frame_tokens(frames, fbank))

    def frame_tokens(self, frames: Tensor, fbank: Tensor) -> Tensor:
        """One token per frame, [B, 16, temporal_dim], from the inputs of `forward`."""
        seen, heard = self.encode(frames, fbank)
        return self.vision_proj(seen + heard)  # type: ignore[no-any-return]

    def encode(self, frames: Tensor, fbank: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoders say of each frame and of the sound, both [B, 16, dim], from the inputs of `forward`.

        The sound's is the same for every frame; a modality that the net does not use is 0.
        """
        dtype = self.vision_proj.weight.dtype
        tokens = []
        if "face" in self.config.modalities:
            pixels = frames.to(dtype) / 255 if frames.dtype == torch.uint8 else frames.to(dtype)
            tokens.append(self.image_encoder.embed(pixels.flatten(0, 1)))
        if "sound" in self.config.modalities:
            tokens.append(self.audio_model.embed(fbank.to(dtype)))
        encoders = self._encoders()
        by_frame = self.by_frame and self.config.exchange and not tokens[0].is_cuda
        for block in range(self.config.depth):
            if by_frame:
                tokens = self._layer_by_frame(tokens, block)
            else:
                tokens = [encoder.blocks[block](x) for encoder, x in zip(encoders, tokens, strict=True)]
                if self.config.exchange:
                    tokens = self._exchange(tokens, block)
            tokens = [encoder.refresh_prompts(x, block) for encoder, x in zip(encoders, tokens, strict=True)]
        cls = [encoder.norm(x[:, 0]) for encoder, x in zip(encoders, tokens, strict=True)]
        nothing = torch.zeros((), dtype=dtype, device=cls[0].device)
        seen = cls[0].unflatten(0, (-1, FRAMES)) if "face" in self.config.modalities else nothing
        heard = cls[-1].unsqueeze(1).expand(-1, FRAMES, -1) if "sound" in self.config.modalities else nothing
        return seen, heard

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits [B, classes] from the result of `frame_tokens`."""
        return self.our_classifier(self.temporal_net(tokens) if self.config.temporal else tokens.mean(dim=1))  # type: ignore[no-any-return]

    def _encoders(self) -> list[PromptedEncoder]:
        both = {"face": "image_encoder", "sound": "audio_model"}
        return [getattr(self, both[modality]) for modality in self.config.modalities]

    def _exchange(self, tokens: list[Tensor], block: int) -> list[Tensor]:
        """Exchange between the encoders after a block; `tokens` are image [B * 16, n, dim] and audio [B, m, dim]."""
        image, audio = tokens
        eyes, ears = self.image_encoder, self.audio_model
        seen = eyes.temporal_pre_norm[block](eyes.temporal_pre[block](image))
        heard = eyes.audio_proj_pre[block](audio)
        heard_by_frame = heard.mean(dim=1, keepdim=True).repeat_interleave(FRAMES, dim=0)
        seen_by_clip = seen.unflatten(0, (-1, FRAMES)).mean(dim=(1, 2)).unsqueeze(1)
        return [
            eyes.receive(image, seen + heard_by_frame, block),
            ears.receive(audio, heard + seen_by_clip, block),
        ]

    def _layer_by_frame(self, tokens: list[Tensor], block: int) -> list[Tensor]:
        """A block of both encoders and the exchange after it, a frame at a time and in place, so that all that becomes
        of a frame stays in a core's cache. `tokens` as for `_exchange`."""
        image, audio = tokens
        eyes, ears = self.image_encoder, self.audio_model
        for one in range(len(audio)):
            audio[one] = ears.blocks[block](audio[one : one + 1])[0]
        heard = eyes.audio_proj_pre[block](audio)
        by_clip, seen_by_clip = heard.mean(dim=1, keepdim=True), torch.zeros_like(heard[:, :1])
        for one in range(len(image)):
            clip = slice(one // FRAMES, one // FRAMES + 1)
            after = eyes.blocks[block](image[one : one + 1])
            seen = eyes.temporal_pre_norm[block](eyes.temporal_pre[block](after))
            seen_by_clip[clip] += seen.mean(dim=1, keepdim=True) / FRAMES
            image[one] = eyes.receive(after, seen + by_clip[clip], block)[0]
        return [image, ears.receive(audio, heard + seen_by_clip, block)]

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that the authors train, by name: all except the frozen parts of the two encoders."""
        frozen = tuple(f"{encoder}.{part}." for encoder in ("image_encoder", "audio_model") for part in FROZEN_PARTS)
        return {name: value for name, value in self.named_parameters() if not f"{name}.".startswith(frozen)}

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Initialise every parameter from `seed`, the same on every machine, for a net without a checkpoint."""
        generator = torch.Generator().manual_seed(seed)
        norms = {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, value in self.named_parameters():
            if name in norms:
                value.fill_(1.0)
            elif name.endswith(".bias") or ".all_gate." in name:
                value.zero_()
            else:
                value.normal_(0.0, self._spread(name, value), generator=generator)

    def _spread(self, name: str, value: Tensor) -> float:
        """Standard deviation with which a parameter is initialised."""
        if name == "temporal_net.pos_embedding":
            return 1.0
        if "learnable_prompts" in name:
            return float(self.config.dim**-0.5)
        if name.endswith(".weight"):
            return float(value[0].numel() ** -0.5)
        return 0.02
