"""Face-MLLM in small: a picture's tokens stand among the words that a language model reads.

The authors published no code. What is known is built (arXiv 2410.20717): a frozen vision encoder, an MLP that projects its
tokens to words, a language model. Here the encoder is a tower of several (`Tower`), since those trained on faces know
expressions and a general one knows more of the rest; the language model is frozen too, but for adapters of low rank.

Everything about one picture is read in one pass. The picture is the root of a tree; each question is a branch of it, and
each possible answer a branch of its question (`Pack`). A token looks at what lies between it and the root, and nowhere
else, so a question's answer is the same whichever questions are asked with it, and the picture is read once for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamfx.nets.llama import Llama, LlamaSizes, Past
from streamfx.nets.vit import VIT_NORM_EPS, EncoderSizes, VitEncoder, tokens_of


@dataclass(frozen=True)
class FaceMllmSizes:
    """Sizes of the whole. `tokens` is how many stand for a picture, a square number; `encoders` are those of the tower."""

    encoders: tuple[EncoderSizes, ...] = (EncoderSizes(),)
    tokens: int = 16
    llm: LlamaSizes = field(default_factory=LlamaSizes)
    rank: int = 8
    """Rank of the adapters; 0: none."""
    adapted: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the layers that have one."""
    others: int = 0
    """Pictures that the net keeps in order to know what is said whoever is looked at; 0: none."""

    def __post_init__(self) -> None:
        encoders = tuple(
            EncoderSizes(**e) if isinstance(e, dict) else e for e in self.encoders
        )  # as `model.json` has it
        llm = LlamaSizes(**self.llm) if isinstance(self.llm, dict) else self.llm
        for name, value in (("encoders", encoders), ("llm", llm), ("adapted", tuple(self.adapted))):
            object.__setattr__(self, name, value)
        if (
            not encoders
            or type(self.tokens) is not int
            or self.tokens < 1
            or math.isqrt(self.tokens) ** 2 != self.tokens
        ):
            raise ValueError(f"expected at least one encoder, and tokens a square number, got {self.tokens!r}")
        if type(self.rank) is not int or self.rank < 0:
            raise ValueError(f"rank: expected a whole number, at least 0, got {self.rank!r}")
        if type(self.others) is not int or self.others < 0:
            raise ValueError(f"others: expected a whole number, at least 0, got {self.others!r}")

    @property
    def width(self) -> int:
        """Width of a picture's token as it leaves the tower."""
        return sum(one.dim for one in self.encoders)

    @property
    def image_size(self) -> int:
        """Side of the pictures in pixels: the largest that an encoder of the tower takes."""
        return max(one.image_size for one in self.encoders)


class Tower(nn.Module):
    """Frozen encoders that look at the same picture; their tokens are pooled to one grid, normed, and joined."""

    def __init__(self, sizes: FaceMllmSizes):
        super().__init__()
        self.sizes = sizes
        self.encoders: Sequence[VitEncoder] = nn.ModuleList(  # type: ignore[assignment]
            one.build() for one in sizes.encoders
        )

    @torch.no_grad()
    def forward(self, faces: Tensor) -> Tensor:
        """Faces float [N, 3, S, S] in 0..1 -> [N, tokens, width], rows of the grid following one another."""
        return torch.cat([self._seen(encoder, sizes, faces) for encoder, sizes in self._pairs()], dim=2)

    def _pairs(self) -> list[tuple[VitEncoder, EncoderSizes]]:
        return list(zip(self.encoders, self.sizes.encoders, strict=True))

    def _seen(self, encoder: VitEncoder, sizes: EncoderSizes, faces: Tensor) -> Tensor:
        side = math.isqrt(self.sizes.tokens)
        if faces.shape[-1] != sizes.image_size:
            faces = F.interpolate(faces, (sizes.image_size, sizes.image_size), mode="bilinear", antialias=True)
        grid = tokens_of(encoder, faces)[:, 1:].transpose(1, 2).reshape(len(faces), sizes.dim, sizes.grid, sizes.grid)
        pooled = F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)
        return F.layer_norm(pooled, pooled.shape[-1:], eps=VIT_NORM_EPS)


class Projector(nn.Module):
    """From a picture's tokens to the space of words: two linear layers, and the scale that words have there."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, dim), nn.Linear(dim, dim)
        self.register_buffer("scale", torch.ones(1))
        self.scale: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, tokens, width] -> [N, tokens, dim]. `scale` is the root of the mean square of an embedding of a word."""
        x = self.fc2(F.gelu(self.fc1(tokens)))
        return F.rms_norm(x, x.shape[-1:], eps=1e-6) * self.scale


@dataclass(frozen=True)
class Pack:
    """Trees of texts, each below one picture and laid out as one sequence: one tree for all pictures of a batch (P = 1), or
    one for each (P = N). The picture's own text is what stands before and after its tokens, for which there are places.

    ids int64 [P, tokens], 0 at the picture's places and where a shorter tree is filled up; `picture` says where the
    picture's places are; `places` int64 [P, tokens] the position of each token, counted from the root; `mask` bool [P,
    tokens, tokens], true where the second may be looked at by the first; `before` int64 [P, tokens]: the token that
    comes before each on the way to the root, -1 at the root; `branch` int64 [P, tokens]: the number of the branch that a
    token belongs to, in the order in which they were added, 0 for the root, and -1 where a tree is filled up.
    """

    ids: Tensor
    picture: slice
    places: Tensor
    mask: Tensor
    before: Tensor
    branch: Tensor

    def to(self, device: str) -> Pack:
        """The same on another device."""
        tensors = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "picture"}
        return replace(self, **{name: value.to(device) for name, value in tensors.items()})

    def which(self, branches: Sequence[Sequence[int]]) -> Tensor:
        """bool [P, tokens]: the tokens of these branches of each tree."""
        named = [torch.tensor(one, device=self.branch.device) for one in branches]
        return torch.stack([torch.isin(row, one) for row, one in zip(self.branch, named, strict=True)])


def pack_from(ids: Sequence[int], before: Sequence[int], branch: Sequence[int], picture: slice) -> Pack:
    """The pack of one tree that is told token by token: `before` must name an earlier token for each, -1 for the first."""
    total = len(ids)
    mask, places = torch.zeros(total, total, dtype=torch.bool), [0] * total
    for at, last in enumerate(before):
        if last >= 0:
            mask[at], places[at] = mask[last], places[last] + 1
        mask[at, at] = True
    rows = [torch.tensor(one, dtype=torch.long)[None] for one in (ids, places, before, branch)]
    return Pack(rows[0], picture, rows[1], mask[None], rows[2], rows[3])


class Tree:
    """Makes a `Pack`. Branch 0 is the root, with the picture."""

    def __init__(self, head: Sequence[int], picture_tokens: int, tail: Sequence[int]):
        root = [*head, *[0] * picture_tokens, *tail]
        self.picture = slice(len(head), len(head) + picture_tokens)
        self._texts: list[list[int]] = [root]
        self._parents = [-1]

    def add(self, parent: int, ids: Sequence[int]) -> int:
        """A branch with this text below another; returns its number. ValueError for an empty text."""
        if not ids or not 0 <= parent < len(self._texts):
            raise ValueError(
                f"expected a text below one of {len(self._texts)} branches, got {len(ids)} tokens below {parent}"
            )
        self._texts.append(list(ids))
        self._parents.append(parent)
        return len(self._texts) - 1

    def pack(self) -> Pack:
        """The tree as it is now."""
        starts, total = [], 0
        for text in self._texts:
            starts.append(total)
            total += len(text)
        mask = torch.zeros(total, total, dtype=torch.bool)
        places, before = torch.zeros(total, dtype=torch.long), torch.zeros(total, dtype=torch.long)
        branch = torch.zeros(total, dtype=torch.long)
        for number, (text, parent, start) in enumerate(zip(self._texts, self._parents, starts, strict=True)):
            here = slice(start, start + len(text))
            last = -1 if parent < 0 else starts[parent] + len(self._texts[parent]) - 1
            if parent >= 0:
                mask[here] = mask[last]
            mask[here, here] = torch.ones(len(text), len(text), dtype=torch.bool).tril()
            places[here] = torch.arange(len(text)) + (0 if parent < 0 else places[last] + 1)
            before[here] = torch.arange(start - 1, start + len(text) - 1)
            before[start], branch[here] = last, number
        ids = torch.tensor([token for text in self._texts for token in text], dtype=torch.long)
        return Pack(ids[None], self.picture, places[None], mask[None], before[None], branch[None])


def together(packs: Sequence[Pack]) -> Pack:
    """One pack of several with the same text before the picture; shorter trees are filled up with what sees only itself."""
    longest = max(pack.ids.shape[1] for pack in packs)

    def filled(name: str, value: int) -> Tensor:
        return torch.cat([F.pad(getattr(p, name), (0, longest - p.ids.shape[1]), value=value) for p in packs])

    mask = torch.eye(longest, dtype=torch.bool).repeat(len(packs), 1, 1)
    for number, pack in enumerate(packs):
        mask[number, : pack.mask.shape[1], : pack.mask.shape[2]] = pack.mask[0]
    (picture,) = {(pack.picture.start, pack.picture.stop) for pack in packs}
    return Pack(
        filled("ids", 0), slice(*picture), filled("places", 0), mask, filled("before", -1), filled("branch", -1)
    )


class FaceMllm(nn.Module):
    """The whole net. Only the projector and the adapters are ever trained (`learned`)."""

    def __init__(self, sizes: FaceMllmSizes):
        super().__init__()
        self.sizes = sizes
        self.tower, self.projector = Tower(sizes), Projector(sizes.width, sizes.llm.dim)
        self.llm = Llama(sizes.llm)
        self.llm.requires_grad_(False)
        if sizes.others:
            self.register_buffer("others", torch.zeros(sizes.others, sizes.tokens, sizes.width))
        if sizes.rank:
            self.llm.adapt(sizes.rank, 2.0 * sizes.rank, sizes.adapted)

    def match_words(self) -> None:
        """Set the projector's scale to that of the language model's words."""
        self.projector.scale.copy_(self.llm.embed_tokens.weight.square().mean().sqrt())

    def learned(self) -> dict[str, Tensor]:
        """What training changes, and all that is kept of a trained net: the projector and the adapters, by name."""
        state = self.state_dict()
        return {name: t for name, t in state.items() if name.startswith("projector.") or ".lora_" in name}

    def read(self, seen: Tensor, pack: Pack) -> tuple[Tensor, Past]:
        """What each token of the pack says of the next: [N, tokens, dim], and the keys and values of all.

        seen float [N, picture tokens, width] as the tower gives them.
        """
        words = self.llm.embed_tokens(pack.ids).expand(len(seen), -1, -1)
        start, stop = pack.picture.start, pack.picture.stop
        x = torch.cat((words[:, :start], self.projector(seen), words[:, stop:]), dim=1)
        return self.llm(x, pack.places, pack.mask)  # type: ignore[no-any-return]

    def losses(self, seen: Tensor, pack: Pack, wanted: Tensor) -> Tensor:
        """float [K]: minus the log-probability of each wanted token (bool [N, tokens]), given what lies between it and the
        root; in the order of rows and places. For a pack of one tree for each picture."""
        row, at = wanted.nonzero(as_tuple=True)
        hidden = self.read(seen, pack)[0][row, pack.before[row, at]]
        return F.cross_entropy(self.llm.logits(hidden).float(), pack.ids[row, at], reduction="none")

    def likelihoods(self, seen: Tensor, pack: Pack, branches: Sequence[int]) -> Tensor:
        """float [N, branches]: the log-probability of each branch's text, given what lies between it and the root. For a
        pack of one tree, asked of all pictures."""
        ids, before, branch = pack.ids[0], pack.before[0], pack.branch[0]
        at = pack.which([branches])[0].nonzero().flatten()
        hidden = self.read(seen, pack)[0][:, before[at]]
        each = F.log_softmax(self.llm.logits(hidden).float(), dim=-1)
        each = each.gather(2, ids[at].expand(len(seen), -1)[:, :, None])[:, :, 0]
        return torch.stack([each[:, branch[at] == number].sum(dim=1) for number in branches], dim=1)

    def without_looking(self, others: Tensor, pack: Pack, branches: Sequence[int]) -> Tensor:
        """double [branches]: the logarithm of the mean probability that each branch's text has for other pictures [K, picture
        tokens, width]. One after the other, since the words of many answers take much memory."""
        each = torch.cat([self.likelihoods(one[None], pack, branches).double() for one in others])
        return each.logsumexp(dim=0) - math.log(len(others))

    @torch.no_grad()
    def write(self, seen: Tensor, pack: Pack, stop: int, longest: int) -> list[int]:
        """The likeliest next tokens after the pack's last, one picture [1, picture tokens, width], until `stop` (which is
        left out) or `longest` of them."""
        hidden, past = self.read(seen, pack)
        out: list[int] = []
        looked, place = pack.mask[:, -1:], int(pack.places[0, -1])
        next_id = int(self.llm.logits(hidden[:, -1]).argmax())
        while next_id != stop and len(out) < longest:
            out.append(next_id)
            place, looked = place + 1, F.pad(looked, (0, 1), value=True)
            x = self.llm.embed_tokens(torch.tensor([[next_id]], device=seen.device))
            hidden, past = self.llm(x, torch.tensor([[place]], device=seen.device), looked, past)
            next_id = int(self.llm.logits(hidden[:, -1]).argmax())
        return out
