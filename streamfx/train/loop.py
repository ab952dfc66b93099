"""The training loop: runs one phase of a recipe to its end, however often the process is killed and resumed.

The randomness of a step depends only on (seed, phase, epoch, step), and a checkpoint holds all state that passes from
step to step, so a run that was killed and resumed writes the same losses as one that was not. Logs are CSV. At a
restart the lines of steps after the last checkpoint are cut off and written again.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from streamfx.errors import ConfigError, ModelError, StreamfxError
from streamfx.terminal import ProgressBar
from streamfx.train.recipe import Run, Steps
from streamfx.whole_files import whole_file

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """Number of epochs, steps per epoch, and the learning rate of each step.

    `peak` is reached after `warmup_epochs` of linear rise; then it falls to `least` by half a cosine, step by step, or,
    with `by_epoch`, stays the same within an epoch.
    """

    epochs: int
    steps: int
    peak: float
    warmup_epochs: float = 0.0
    by_epoch: bool = False
    least: float = field(default=0.0, repr=False)  # not in the text that checkpoints are compared by

    @classmethod
    def of(cls, section: Steps, steps: int, least: float = 0.0) -> Schedule:
        """The schedule of a recipe's section with `steps` per epoch; the peak rate is blr x batch_size / 256."""
        peak = section.blr * section.batch_size / 256
        return cls(section.epochs, steps, peak, section.warmup_epochs, least=least)

    def rate(self, epoch: int, step: int) -> float:
        """The learning rate of one step."""
        at = float(epoch) if self.by_epoch else epoch + step / self.steps
        if at < self.warmup_epochs:
            return self.peak * at / self.warmup_epochs
        share = (at - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9)
        return self.least + (self.peak - self.least) * 0.5 * (1 + math.cos(math.pi * share))


class Batches(Dataset[Batch], ABC):
    """The batches of a phase by number: 0 … epochs x steps - 1. A batch is the same in whichever process it is made."""

    def __init__(self, steps: int, seed: int, phase: str):
        self.steps = steps
        self.seed = seed
        self.phase = phase

    def __getitem__(self, number: int) -> Batch:
        epoch, step = divmod(number, self.steps)
        return self.make(epoch, step, torch.Generator().manual_seed(derived(self.seed, self.phase, epoch, step)))

    @abstractmethod
    def make(self, epoch: int, step: int, generator: torch.Generator) -> Batch:
        """The batch of one step; everything random in it comes from `generator` or from `derived`."""


class Phase(ABC):
    """What is trained, on which data, and how it is measured.

    `net` holds all state. `decided_by` is a JSON value of everything that the result depends on; a checkpoint with
    another value is refused.
    """

    name: str
    net: nn.Module
    batches: Batches
    schedule: Schedule
    weight_decay: float
    betas: tuple[float, float]
    decided_by: Any
    optimiser: Literal["adamw", "muon"] = "adamw"

    def rate_share(self, name: str) -> float:
        """The learning rate of the parameter `name` of `net` as a share of the schedule's."""
        return 1.0

    def decays(self, name: str, value: Tensor) -> bool:
        """Whether weight decay applies to the parameter `name` of `net`; by default not to biases, gains and other
        vectors."""
        return value.ndim >= 2

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, a scalar to minimise, and any other values that are summed over an epoch for `epoch_row`."""

    def epoch_row(self, sums: Mapping[str, Tensor], steps: int) -> dict[str, float]:
        """The epoch's line in the log, from the sums of what `losses` returned; may measure on held-out data."""
        return {"loss": float(sums["loss"]) / steps}


def derived(*parts: int | str) -> int:
    """A seed that depends only on `parts`, the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def device_of(run: Run) -> torch.device:
    """The device that a recipe names; raises ConfigError where there is no such CUDA device."""
    available = torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise ConfigError("run.device: expected a CUDA device, found none; set it to `cpu` or `auto`")
    return torch.device("cuda" if available and run.device != "cpu" else "cpu")


@contextmanager
def computing(run: Run, device: torch.device) -> Iterator[None]:
    """Set the precision and the kernels for training and measuring a net."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"))
        if device.type == "cpu":
            # torch's fused attention is slow on a CPU for short sequences: its backward pass costs more than it saves.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def train(phase: Phase, run: Run) -> None:
    """Train `phase.net` to the end, from the latest checkpoint in `run.out` if there is one; leave it on the CPU.

    Writes `<phase>-steps.csv` (epoch, step, loss, lr, seconds), `<phase>-epochs.csv` (the values of `epoch_row`) and
    `<phase>.checkpoint` there. A finished phase is only loaded. Raises ConfigError for a checkpoint of another recipe,
    and ModelError for a loss that is not finite, for too little memory, and where a process that loads data dies.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads or threads)
    try:
        run.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run.out: cannot make the folder {run.out}: {error.strerror or error}") from error
    torch.manual_seed(derived(run.seed, phase.name))
    device = device_of(run)
    phase.net.to(device)
    if run.compile:
        if device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
            raise ConfigError("run.compile: expected a C++ compiler, found none; install g++, or set it to false")
        phase.net.compile()
    state = _Progress(phase, run, device)
    try:
        state.resume()
        while state.epoch < phase.schedule.epochs:
            _epoch(phase, run, device, state)
    except RuntimeError as error:
        explained = _explained(error)
        if explained is None:
            raise
        raise explained from error
    finally:
        state.close()
        torch.set_num_threads(threads)
    phase.net.to("cpu")


def _explained(error: RuntimeError) -> ModelError | None:
    """The error as a ModelError that says what to do, or None if a user can do nothing about it."""
    what = str(error).partition("\n")[0]
    if what.startswith("DataLoader worker"):
        return _died(what)
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in what:
        return ModelError(f"there is too little memory ({what}); lower batch_size")
    return None


def _died(what: object) -> ModelError:
    return ModelError(
        f"a process that loads data died ({what}), perhaps for lack of memory; lower run.workers and run the command "
        "again, which goes on where it stopped"
    )


def _epoch(phase: Phase, run: Run, device: torch.device, state: _Progress) -> None:
    """Train the rest of an epoch."""
    started, schedule = time.monotonic(), phase.schedule
    title = f"{phase.name} {state.epoch + 1}/{schedule.epochs}"
    phase.net.train()
    with ProgressBar(" steps", schedule.steps, state.step, title) as bar:
        for batch in _loaded(phase, run, state.epoch * schedule.steps + state.step, (state.epoch + 1) * schedule.steps):
            rate = schedule.rate(state.epoch, state.step)
            loss = _step(phase, run, device, state, batch, rate)
            state.log_step(loss, rate)
            state.step += 1
            bar.update(figures=f"loss={loss:.4f}")
            if state.step < schedule.steps and time.monotonic() - state.saved_at >= run.checkpoint_s:
                state.save()
    phase.net.eval()
    with torch.no_grad(), computing(run, device):
        row = phase.epoch_row(state.sums, schedule.steps)
    state.log_epoch(row, time.monotonic() - started)
    state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
    state.save()


class _BatchesOrErrors(Dataset[Batch | StreamfxError]):
    """Batches, or the errors from making them, returned because torch would add a traceback to an error's text."""

    def __init__(self, batches: Batches):
        self._batches = batches

    def __getitem__(self, number: int) -> Batch | StreamfxError:
        try:
            return self._batches[number]
        except StreamfxError as error:
            return error


def _loaded(phase: Phase, run: Run, first: int, end: int) -> Iterator[Batch]:
    loader = DataLoader(
        _BatchesOrErrors(phase.batches),
        batch_size=None,
        sampler=range(first, end),
        num_workers=run.workers,
        # Without a generator of its own, a loader made anew in mid-epoch would draw once more from torch's global one.
        generator=torch.Generator(),
        prefetch_factor=2 if run.workers else None,
    )
    handler = signal.getsignal(signal.SIGCHLD)
    loading = iter(loader)
    # torch would report the death of a loading process by an error at an arbitrary place, even after the one that ended
    # the training. Without its signal handler it is found here, where the next batch is waited for.
    if signal.getsignal(signal.SIGCHLD) is not handler:
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    while True:
        try:
            made = next(loading)
        except StopIteration:
            return
        # The process died while it handed a batch over.
        except (ConnectionError, EOFError) as error:
            raise _died(error) from error
        if isinstance(made, StreamfxError):
            raise made
        yield made


def _step(phase: Phase, run: Run, device: torch.device, state: _Progress, batch: Batch, rate: float) -> float:
    for optimiser in state.optimisers:
        optimiser.zero_grad()
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
    with computing(run, device):
        parts = phase.losses({name: value.to(device, non_blocking=True) for name, value in batch.items()})
    parts["loss"].backward()  # type: ignore[no-untyped-call]
    for optimiser in state.optimisers:
        optimiser.step()
    for name, value in parts.items():
        state.sums[name] = state.sums.get(name, 0.0) + value.detach().double().cpu()
    loss = float(parts["loss"].detach())
    if not math.isfinite(loss):
        raise ModelError(
            f"{phase.name}: the loss of epoch {state.epoch + 1}, step {state.step + 1} is {loss}; lower the "
            "learning rate, "
            f"remove {state.checkpoint} and start again"
        )
    return loss


class _Progress:
    """The progress of a phase: counters, optimiser, logs, and the checkpoint that restores them."""

    def __init__(self, phase: Phase, run: Run, device: torch.device):
        self._phase, self._device = phase, device
        self.checkpoint = run.out / f"{phase.name}.checkpoint"
        self.epoch = self.step = 0
        self.sums: dict[str, Tensor] = {}
        self.saved_at = time.monotonic()
        self._step_at = time.monotonic()
        self.optimisers = _optimisers(phase)
        self._logs = {name: _Csv(run.out / f"{phase.name}-{name}.csv") for name in ("steps", "epochs")}
        self._decided_by = repr((phase.decided_by, phase.schedule))

    def resume(self) -> None:
        """Restore the latest checkpoint, or begin at the start with empty logs if there is none."""
        if not self.checkpoint.exists():
            for log in self._logs.values():
                log.cut(0)
            return
        try:
            # Only tensors and plain values are loaded; no code in the file is run.
            saved = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            if saved["decided_by"] != self._decided_by:
                raise ConfigError(
                    f"{self.checkpoint} was made with another recipe, seed or data; set run.out to another folder, or "
                    "remove the file to start again"
                )
            self._phase.net.load_state_dict(saved["net"])
            for optimiser, its in zip(self.optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(its)
            _restore_random(saved["random"])
            self.epoch, self.step, self.sums = saved["epoch"], saved["step"], saved["sums"]
            for name, log in self._logs.items():
                log.cut(saved["logs"][name])
        except ConfigError:
            raise
        # A broken file can raise any kind of exception.
        except Exception as error:
            raise ModelError(
                f"cannot resume from {self.checkpoint}: {error}; remove it to train from the start"
            ) from error

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, once the logs that it refers to are on the disk."""
        content = {
            "decided_by": self._decided_by,
            "net": self._phase.net.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": _random_state(),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "logs": {name: log.sync() for name, log in self._logs.items()},
        }
        try:
            _write(self.checkpoint, content)
        except (OSError, RuntimeError) as error:
            raise ModelError(f"cannot write {self.checkpoint}: {error}; make room and run the command again") from error
        self.saved_at = time.monotonic()

    def log_step(self, loss: float, rate: float) -> None:
        """Add a line to the log of steps."""
        now = time.monotonic()
        row = {"epoch": self.epoch + 1, "step": self.step + 1, "loss": loss, "lr": rate}
        self._logs["steps"].add(row, now - self._step_at)
        self._step_at = now

    def log_epoch(self, row: Mapping[str, float], seconds: float) -> None:
        """Add a line to the log of epochs."""
        self._logs["epochs"].add({"epoch": self.epoch + 1, **row}, seconds)

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs.values():
            log.close()


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Save `content` under `path`, whole or not at all, even if the power fails."""
    with whole_file(path, durable=True) as hidden:
        torch.save(content, hidden)


class _Csv:
    """A CSV file that is only appended to, and can be cut back to an earlier length."""

    def __init__(self, path: Path):
        self._file = path.open("a+", encoding="utf-8", newline="")

    def cut(self, length: int) -> None:
        self._file.truncate(length)
        self._file.seek(0, io.SEEK_END)

    def add(self, row: Mapping[str, float], seconds: float) -> None:
        """Append a row, and before the first one the header. `seconds` comes last; only it differs from run to run."""
        if self._file.tell() == 0:
            self._file.write(",".join([*row, "seconds"]) + "\n")
        values = [str(value) if isinstance(value, int) else f"{value:.9g}" for value in row.values()]
        self._file.write(",".join([*values, f"{seconds:.3f}"]) + "\n")
        try:
            self._file.flush()
        except OSError as error:
            raise ModelError(f"cannot write {self._file.name}: {error}; make room and run the command again") from error

    def sync(self) -> int:
        """Write everything to the disk and return the length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        # A full disk has already raised an error in `add`, and everything a checkpoint refers to is on the disk.
        with suppress(OSError):
            self._file.close()


def _random_state() -> dict[str, Any]:
    """The states of the global generators as tensors and plain values. Nothing here uses them, but a net may."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "python": list(random.getstate()),
    }


def _optimisers(phase: Phase) -> list[torch.optim.Optimizer]:
    """AdamW for the trained parameters; with Muon, that one for the matrices of the blocks and AdamW for the rest."""
    trained = {name: value for name, value in phase.net.named_parameters() if value.requires_grad}
    matrices = [value for name, value in trained.items() if "blocks." in name and value.ndim == 2]
    found: list[torch.optim.Optimizer] = []
    if phase.optimiser == "muon" and matrices:
        muons = {id(value) for value in matrices}
        trained = {name: value for name, value in trained.items() if id(value) not in muons}
        muon = torch.optim.Muon(
            matrices, lr=phase.schedule.peak, weight_decay=phase.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        found.append(muon)
    shares: dict[tuple[float, bool], list[Tensor]] = {}
    for name, value in trained.items():
        shares.setdefault((phase.rate_share(name), phase.decays(name, value)), []).append(value)
    groups = [
        {"params": values, "weight_decay": phase.weight_decay if decays else 0.0, "share": share}
        for (share, decays), values in sorted(shares.items(), key=lambda one: not one[0][1])
    ]
    return [*found, torch.optim.AdamW(groups, lr=phase.schedule.peak, betas=phase.betas, fused=True)]


def _restore_random(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
