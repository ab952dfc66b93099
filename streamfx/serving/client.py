"""What asks a model for answers: one face for the nets in this process and for those behind Triton."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, Protocol

from streamfx.config.section import is_reloadable
from streamfx.config.serving import Serving
from streamfx.errors import ModelError
from streamfx.models.base import ServedModel
from streamfx.models.card import ModelCard, find_directory, resolve_model
from streamfx.models.contract import Answer, ModelInfo, Tensors, precision_variable
from streamfx.serving.contract import ModelClient

log = logging.getLogger(__name__)


class Backend(Protocol):
    """Where a model runs. Inputs are checked and bounded in number before they come here."""

    @property
    def info(self) -> ModelInfo:
        """Which weights answer."""

    def send(self, inputs: Tensors) -> Future[Answer]:
        """Ask for one item; does not block."""

    def retune(self, serving: Serving) -> None:
        """Take other values of the live knobs of `serving`; may be called from any thread."""

    def close(self) -> None:
        """Stop. Futures still open fail."""


def open_model(model: type[ServedModel], weights: str, serving: Serving) -> ModelClient:
    """`model` with `weights` (a directory, or the name of one that comes with it), where `serving` says that it runs.

    What `serving.models` says of the model goes before the rest. Clients of one model with the same weights and
    settings, live knobs aside, share one backend in a process: its weights are loaded once, the bound on items in
    flight is for all of them together, and the live knobs are those given last. Behind Triton the server decides which
    weights it serves: if `weights` can be found here too and are others, ModelError says both. Raises
    ServingUnavailable where no server answers.
    """
    serving = serving.for_model(model.spec.name)
    if serving.backend == "in_process":
        directory = resolve_model(weights, model.shelf)
        return _share(model, str(directory), serving, lambda: _in_process(model, directory, serving))
    return _share(model, weights, serving, lambda: _triton(model, weights, serving))


def retune_models(serving: Serving) -> None:
    """Give the models of this process that run where `serving` says its live knobs (`in_flight`, `batch_size`, …)."""
    with _shared_lock:
        for shared in _shared.values():
            own = serving.for_model(shared.key.model.spec.name)
            if shared.key == _key(shared.key.model, shared.key.weights, own):
                shared.retune(own)


def _in_process(model: type[ServedModel], directory: Path, serving: Serving) -> Backend:
    from streamfx.serving.in_process import InProcess

    return InProcess(model, directory, serving)


def _triton(model: type[ServedModel], weights: str, serving: Serving) -> Backend:
    from streamfx.serving.triton_client import TritonBackend

    backend = TritonBackend(model, serving)
    try:
        _check_served(model, weights, backend.info, serving)
    except BaseException:
        backend.close()
        raise
    return backend


def _check_served(model: type[ServedModel], weights: str, served: ModelInfo, serving: Serving) -> None:
    url, precision, card = serving.triton.url, serving.precision, _card(model, weights)
    if served.precision != (model.info_at(card, precision).precision if card else precision):
        raise ModelError(
            f"serving.precision is {precision} for the model {model.spec.name!r}, but Triton at {url} serves it in "
            f"{served.precision}: start the server with {precision_variable(model.spec.name)}={precision}, or set "
            f"serving.models.{model.spec.name}.precision to {served.precision}"
        )
    if card is None:
        log.info(
            "model %s is not on this machine; Triton at %s serves %s %s", weights, url, served.name, served.version
        )
        return
    wanted = model.info_at(card, precision)
    if served == wanted:
        return
    taken = _card(model, card.instead) if card.instead else None
    if taken is None or served != model.info_at(taken, precision):
        raise ModelError(
            f"expected the model {wanted.name} {wanted.version}, but Triton at {url} serves {served.name} "
            f"{served.version} as {model.spec.name!r}; give both the same model directory"
        )
    log.warning("Triton at %s lacks weights that %s needs, and serves %s instead", url, wanted.name, served.name)


def _card(model: type[ServedModel], weights: str) -> ModelCard | None:
    """The card of these weights; None where they are not on this machine."""
    try:
        return model.read_card(find_directory(weights, model.shelf))
    except ModelError:
        return None


class _Room:
    """Places for items in flight; their number may change while some are taken."""

    def __init__(self, places: int):
        self._places, self._taken = places, 0
        self._changed = threading.Condition()

    def take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._places)
            self._taken += 1

    def give_back(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def resize(self, places: int) -> None:
        with self._changed:
            self._places = places
            self._changed.notify_all()


class _Key(NamedTuple):
    """What tells one backend from another."""

    model: type[ServedModel]
    weights: str
    settings: str
    """As JSON, with the live knobs at their defaults."""


def _key(model: type[ServedModel], weights: str, serving: Serving) -> _Key:
    live = {name: field.default for name, field in Serving.model_fields.items() if is_reloadable(field)}
    return _Key(model, weights, serving.model_copy(update=live).model_dump_json())


class _Shared:
    """A backend with its clients and its bound on items in flight."""

    def __init__(self, key: _Key, backend: Backend, serving: Serving):
        self.key, self.backend = key, backend
        self.spec = key.model.spec_of(backend.info)
        self.room = _Room(serving.in_flight)
        self.clients = 0

    def retune(self, serving: Serving) -> None:
        self.room.resize(serving.in_flight)
        self.backend.retune(serving)


_shared: dict[_Key, _Shared] = {}
_shared_lock = threading.Lock()


def _share(model: type[ServedModel], weights: str, serving: Serving, start: Callable[[], Backend]) -> ModelClient:
    key = _key(model, weights, serving)
    with _shared_lock:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _Shared(key, start(), serving)
        shared.retune(serving)
        shared.clients += 1
    return _Client(shared)


class _Client:
    """One user of a shared backend."""

    def __init__(self, shared: _Shared):
        self._shared = shared
        self._open = True

    @property
    def info(self) -> ModelInfo:
        return self._shared.backend.info

    def submit(self, inputs: Tensors) -> Future[Answer]:
        try:
            self._check(inputs)
        except ModelError as error:
            refused: Future[Answer] = Future()
            refused.set_exception(error)
            return refused
        self._shared.room.take()
        try:
            future = self._shared.backend.send(inputs)
        except BaseException:
            self._shared.room.give_back()
            raise
        future.add_done_callback(lambda _: self._shared.room.give_back())
        return future

    def _check(self, inputs: Tensors) -> None:
        if not self._open:
            raise ModelError("the model client is closed; open another one")
        self._shared.spec.check_inputs(inputs)

    def flush(self) -> None:
        """Both backends send as soon as they can; there is nothing to hurry."""

    def close(self) -> None:
        with _shared_lock:
            if not self._open:
                return
            self._open = False
            self._shared.clients -= 1
            if self._shared.clients:
                return
            del _shared[self._shared.key]
        self._shared.backend.close()
