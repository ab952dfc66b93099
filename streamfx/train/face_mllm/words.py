"""The stage before the language model reads: the projector learns to point at the words of a picture's caption.

A token of a picture says a word by lying in its direction in the space of words. The picture says of each word the mean of
what its tokens say, and the loss is the cross-entropy to the words of its caption, rare words counting for more:

    p(w | picture) = mean over tokens t of softmax_w(20 cos(x_t - m, e_w - m))

where e_w are the language model's own embeddings and m their mean. The language model is not run, so a step costs a few
hundredths of one that runs it, and afterwards the pictures speak its words from its first step on.
"""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from streamfx.errors import ConfigError
from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm
from streamfx.train.batches import Shuffled
from streamfx.train.face_mllm.phases import Learned
from streamfx.train.loop import Batch, Phase, Schedule
from streamfx.train.recipe import Steps

_LEAST, _MOST = 20, 0.6
"""Captions that a word must be in, and the share of all that it may be in: what is in most of them tells nothing."""
_SHARPNESS = 20.0


class WordBatches(Shuffled):
    """Pictures, each with the words of its caption."""

    def __init__(
        self,
        captions: pd.DataFrame,
        seen: npt.NDArray[np.float16],
        prompt: Prompt,
        section: Steps,
        seed: int,
        phase: str,
    ):
        """`captions`: rows of `questions.parquet` with a caption as answer, and a column `image`: the number of the picture
        in `seen`. ConfigError for captions that share no words."""
        said = [np.unique(prompt.words.encode(f" {text}")) for text in captions["answer"]]
        found, counts = np.unique(np.concatenate(said), return_counts=True)
        kept = (counts >= min(_LEAST, len(said) / 10)) & (counts <= _MOST * len(said))
        if not kept.any():
            raise ConfigError("data.questions: no word is in some captions and not in others; make the set again")
        self.words = found[kept]
        """int64 [words]: the tokens that tell one caption from another."""
        self._weights = np.log(len(said) / counts[kept]).astype(np.float32)
        self._said = [np.flatnonzero(np.isin(self.words, one)) for one in said]
        self._images, self._seen = captions["image"].to_numpy(np.int64), seen
        super().__init__(len(said), section.batch_size, seed, phase)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """`seen` float32 [B, tokens, width]; `said` float32 [B, words]: each word's share of the caption, by weight."""
        said = np.zeros((len(items), len(self.words)), np.float32)
        for at, row in enumerate(items):
            said[at, self._said[row]] = self._weights[self._said[row]]
        said /= np.maximum(said.sum(axis=1, keepdims=True), 1e-6)
        seen = np.asarray(self._seen[self._images[items]], np.float32)
        return {"seen": torch.from_numpy(seen), "said": torch.from_numpy(said)}


class WordsPhase(Phase):
    """Trains the projector alone; `loss` is the cross-entropy above."""

    betas = (0.9, 0.99)

    def __init__(self, name: str, net: Learned, batches: WordBatches, section: Steps, decided_by: object):
        self.name, self.net, self.batches = name, net, batches
        self.schedule = Schedule.of(section, batches.steps)
        self.weight_decay, self.decided_by = section.weight_decay, [json.loads(section.model_dump_json()), decided_by]
        whole: FaceMllm = net.__dict__["whole"]
        words = whole.llm.embed_tokens.weight.detach()[torch.from_numpy(batches.words)].float()
        self._projector, self._mean = whole.projector, words.mean(dim=0)
        self._words = F.normalize(words - self._mean, dim=1)
        net.only(("projector",))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, the mean over the batch."""
        return {"loss": -(batch["said"] * self.says(batch["seen"])).sum(dim=1).mean()}

    def says(self, seen: Tensor) -> Tensor:
        """float [N, words]: log p(w | picture), for pictures [N, tokens, width]."""
        mean, words = self._mean.to(seen.device), self._words.to(seen.device)
        x = F.normalize(self._projector(seen).float() - mean, dim=2)
        each = (_SHARPNESS * x @ words.T).log_softmax(dim=2)
        return each.logsumexp(dim=1) - math.log(each.shape[1])
