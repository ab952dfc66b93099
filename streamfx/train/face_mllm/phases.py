"""One stage of a Face-MLLM's training: pictures with some of their questions, and the loss on the answers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from streamfx.models.prompt import Prompt
from streamfx.nets.face_mllm import FaceMllm, Pack, together
from streamfx.train.batches import Shuffled
from streamfx.train.face_mllm.recipe import Part, StageSteps
from streamfx.train.loop import Batch, Phase, Schedule, derived


class Learned(nn.Module):
    """What of a net is trained: checkpoints hold this, and not half a gigabyte of what stays."""

    def __init__(self, whole: FaceMllm):
        super().__init__()
        self.projector = whole.projector
        self.adapters = nn.ParameterList(p for name, p in whole.named_parameters() if ".lora_" in name)
        self.__dict__["whole"] = whole  # not registered

    def only(self, learns: Sequence[Part]) -> None:
        """From now on these parts are trained, and nothing else of the net."""
        self.__dict__["whole"].requires_grad_(False)
        self.projector.requires_grad_("projector" in learns)
        self.adapters.requires_grad_("adapters" in learns)


class QuestionBatches(Shuffled):
    """Pictures, each with some of its questions."""

    def __init__(
        self,
        questions: pd.DataFrame,
        seen: npt.NDArray[np.float16],
        prompt: Prompt,
        section: StageSteps,
        seed: int,
        phase: str,
        earlier: float = 0.0,
    ):
        """`questions` as in `questions.parquet`, with a column `image`: the number of the picture in `seen`. Where they are of
        two stages, `earlier` is the share of those of the earlier one."""
        groups = [np.asarray(rows) for _, rows in sorted(questions.groupby("image").indices.items())]
        drawn = np.random.default_rng(derived(seed, phase, "pictures")).permutation(len(groups))
        self._groups = [groups[number] for number in sorted(drawn[: section.pictures or None])]
        self._questions, self._seen, self._prompt, self._section = questions, seen, prompt, section
        stages = questions["stage"].to_numpy()
        self._late, self._earlier = stages == stages.max(), earlier
        super().__init__(len(self._groups), section.batch_size, seed, phase)

    def of(self, items: list[int], epoch: int, generator: torch.Generator) -> Batch:
        """`seen` float32 [B, tokens, width]; `ids`, `places`, `before` int64 and `wanted` bool [B, length]; `mask` bool [B,
        length, length]; `answer` int64 [B, length], which of the batch's answers a token belongs to, -1 for none."""
        packs, answers, pictures = [], [], []
        for number in items:
            rows = self._groups[number]
            tree, found = self._prompt.tree(), []
            for row in self._some(rows, generator):
                asked = self._questions.iloc[row]
                below = tree.add(0, self._prompt.question(asked["question"]))
                found.append(tree.add(below, self._prompt.answer(asked["answer"])))
            packs.append(tree.pack())
            answers.append(found)
            pictures.append(int(self._questions["image"].iloc[rows[0]]))
        pack = together(packs)
        wanted, answer, count = pack.which(answers), torch.full_like(pack.branch, -1), 0
        for row, found in enumerate(answers):
            for branch in found:
                answer[row, pack.branch[row] == branch] = count
                count += 1
        seen = torch.from_numpy(np.asarray(self._seen[pictures], np.float32))
        return {
            "seen": seen, "ids": pack.ids, "places": pack.places, "before": pack.before, "mask": pack.mask,
            "branch": pack.branch, "wanted": wanted, "answer": answer,
            "picture": torch.tensor([pack.picture.start, pack.picture.stop]),
        }  # fmt: skip

    def _some(self, rows: npt.NDArray[np.int64], generator: torch.Generator) -> npt.NDArray[np.int64]:
        """Of a picture's questions those that are asked in a step, in order."""
        count = min(len(rows), self._section.questions)
        late = torch.from_numpy(self._late[rows])
        if not self._earlier or late.all() or not late.any():
            chosen = torch.randperm(len(rows), generator=generator)[:count]
        else:
            weights = torch.where(late, (1 - self._earlier) / late.sum(), self._earlier / (~late).sum())
            chosen = torch.multinomial(weights, count, generator=generator)
        some: npt.NDArray[np.int64] = rows[np.sort(chosen.numpy())]
        return some


class StagePhase(Phase):
    """One stage. The loss is minus the log-probability of an answer, the mean over the batch's answers."""

    betas = (0.9, 0.99)

    def __init__(self, name: str, net: Learned, batches: QuestionBatches, section: StageSteps, decided_by: object):
        self.name, self.net, self.batches, self.section = name, net, batches, section
        self.schedule = Schedule.of(section, batches.steps)
        self.weight_decay, self.decided_by = section.weight_decay, [json.loads(section.model_dump_json()), decided_by]
        net.only(section.learns)

    def rate_share(self, name: str) -> float:
        """Adapters learn more slowly than the projector, which begins from nothing."""
        return self.section.adapter_share if name.startswith("adapters") else 1.0

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, and `tokens`, the mean over the tokens of answers."""
        whole: FaceMllm = self.net.__dict__["whole"]
        start, stop = batch["picture"].tolist()
        pack = Pack(batch["ids"], slice(start, stop), batch["places"], batch["mask"], batch["before"], batch["branch"])
        each = whole.losses(batch["seen"], pack, batch["wanted"])
        answers = int(batch["answer"].max()) + 1
        return {"loss": each.sum() / answers, "tokens": each.mean()}

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The means of both over the epoch."""
        return {name: float(value) / steps for name, value in sums.items()}
