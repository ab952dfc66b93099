"""How a picture, questions about it and their answers stand in a language model's chat, as the numbers of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamfx.nets.face_mllm import Tree

YES_NO = ("yes", "no")
PICTURE = -1
"""What stands in a request at the places of the picture."""
Asked = tuple[str, Sequence[str]]
"""A question, and the answers to choose from."""


class Words(Protocol):
    """The tokenizer of a language model."""

    def encode(self, text: str) -> list[int]:
        """The numbers of the text's tokens; `<|im_start|>` and the like are one token each."""


@dataclass(frozen=True)
class Prompt:
    """The chat of one language model, in which a picture has `tokens` places."""

    words: Words
    tokens: int

    def tree(self) -> Tree:
        """The root: the picture at the beginning of what the user says."""
        return Tree(self.words.encode("<|im_start|>user\n"), self.tokens, self.words.encode("\n"))

    def question(self, text: str) -> list[int]:
        """The rest of what the user says, and the beginning of the answer."""
        return self.words.encode(f"{text}<|im_end|>\n<|im_start|>assistant\n")

    def answer(self, text: str) -> list[int]:
        """The answer with its end."""
        return self.words.encode(f"{text}<|im_end|>")

    def asking(self, asked: Sequence[Asked]) -> tuple[Tree, list[int]]:
        """The tree of questions with their answers, and the branches of all answers in order."""
        tree, branches = self.tree(), list[int]()
        for question, answers in asked:
            below = tree.add(0, self.question(question))
            branches += [tree.add(below, self.answer(answer)) for answer in answers]
        return tree, branches

    def request(self, asked: Sequence[Asked]) -> npt.NDArray[np.int32]:
        """int32 [3, tokens], all that a served model is told of the questions: each token's number, PICTURE at the places of
        the picture; the token before it on the way to the root, -1 at the first; and the number of the answer that it
        belongs to, -1 for none. Answers are counted through all questions."""
        tree, branches = self.asking(asked)
        pack = tree.pack()
        ids, answer = pack.ids[0].numpy().copy(), np.full(pack.ids.shape[1], -1)
        ids[pack.picture] = PICTURE
        for number, branch in enumerate(branches):
            answer[pack.branch[0].numpy() == branch] = number
        return np.stack((ids, pack.before[0].numpy(), answer)).astype(np.int32)


def chosen(scores: npt.NDArray[np.generic], asked: Sequence[Asked]) -> list[tuple[str, float]]:
    """For each question the likeliest answer and its probability (0..1) among the question's answers, from the scores of all
    answers in order: a softmax."""
    found, at = [], 0
    for _, answers in asked:
        part = scores[at : at + len(answers)].astype(np.float64)
        shares = np.exp(part - part.max())
        best = int(shares.argmax())
        found.append((answers[best], float(shares[best] / shares.sum())))
        at += len(answers)
    return found
