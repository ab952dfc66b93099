"""The backend in the worker's own process: one thread that batches what is waiting."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch

from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.base import ServedModel, pick_device
from streamfx.models.contract import Answer, ModelInfo, Tensors


class InProcess:
    """Runs one net. A batch is what waits when the net is free, up to `serving.batch_size`: nothing is held back."""

    def __init__(self, model: type[ServedModel], directory: Path, serving: Serving):
        if serving.threads:
            torch.set_num_threads(serving.threads)
        self._model = model.load(directory, pick_device(serving.device), serving.precision)
        self._batch_size = serving.batch_size
        self._waiting: deque[tuple[Tensors, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"net {self._model.card.name}", daemon=True)
        self._thread.start()

    @property
    def info(self) -> ModelInfo:
        """Which weights answer."""
        return self._model.info

    def send(self, inputs: Tensors) -> Future[Answer]:
        """Queue one item."""
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise ModelError("the net in this process is closed")
            self._waiting.append((inputs, future))
            self._changed.notify()
        return future

    def retune(self, serving: Serving) -> None:
        """The next batch is of the new size."""
        self._batch_size = serving.batch_size

    def close(self) -> None:
        """Finish the batch under way; fail what waits."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for _, future in dropped:
            future.set_exception(ModelError("the net in this process was closed before it could answer"))
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            futures = [future for _, future in batch]
            try:
                answers = self._answer([inputs for inputs, _ in batch])
            except BaseException as error:
                for future in futures:
                    future.set_exception(error)
            else:
                for future, answer in zip(futures, answers, strict=True):
                    future.set_result(answer)

    def _next_batch(self) -> list[tuple[Tensors, Future[Answer]]]:
        """Items to run together, whose tensors have the same sizes; empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            taken = [self._waiting.popleft()] if self._waiting else []
            while self._waiting and len(taken) < self._batch_size and _sizes(self._waiting[0]) == _sizes(taken[0]):
                taken.append(self._waiting.popleft())
        return [(inputs, future) for inputs, future in taken if future.set_running_or_notify_cancel()]

    def _answer(self, items: list[Tensors]) -> list[Answer]:
        batch = {
            spec.name: torch.from_numpy(np.stack([item[spec.name] for item in items]))
            for spec in self._model.spec.inputs
        }
        outputs = {name: value.numpy() for name, value in self._model.run(batch).items()}
        return [{name: value[number] for name, value in outputs.items()} for number in range(len(items))]


def _sizes(item: tuple[Tensors, Future[Answer]]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in item[0].items()}
