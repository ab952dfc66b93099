"""A training run that is killed and resumed logs the same losses as an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import face_recipe, synthetic_data, write_set, write_yaml

from streamfx.errors import ConfigError, ModelError
from streamfx.train.loop import Batch, Batches, Phase, Schedule, _Csv, train
from streamfx.train.pretrain import pretrain_face
from streamfx.train.recipe import FaceRecipe, Run

COMMAND = "import sys; from streamfx.cli.train import train; train(sys.argv[1:])"


class Numbers(Batches):
    def make(self, epoch: int, step: int, generator: torch.Generator) -> Batch:
        x = torch.rand(8, 3, generator=generator)
        return {"x": x, "y": x.sum(dim=1, keepdim=True)}


class Failing(Numbers):
    """Batches that fail in a loading process by a streamfx error or by the process's death."""

    def make(self, epoch: int, step: int, generator: torch.Generator) -> Batch:
        if step == 3 and torch.utils.data.get_worker_info():
            if self.phase == "death":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ConfigError("a.jpg: not a readable picture")
        return super().make(epoch, step, generator)


class Sum(Phase):
    """Learns to add; a random draw inside the net makes it depend on torch's global generator too."""

    name, betas, weight_decay, decided_by = "sum", (0.9, 0.999), 0.0, "sum"

    def __init__(self, die_at: int | None = None):
        self.net = torch.nn.Linear(3, 1)
        with torch.no_grad():
            self.net.weight.fill_(0.1)
            self.net.bias.zero_()
        self.batches = Numbers(5, 1, "sum")
        self.schedule = Schedule(epochs=4, steps=5, peak=0.1, warmup_epochs=1)
        self._die_at, self._steps = die_at, 0

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        if self._steps == self._die_at:
            raise KeyboardInterrupt
        self._steps += 1
        noise = 0.01 * torch.randn(8, 1)
        return {"loss": ((self.net(batch["x"]) - batch["y"] + noise) ** 2).mean(), "count": torch.tensor(8)}

    def epoch_row(self, sums: Any, steps: int) -> dict[str, float]:
        return {**super().epoch_row(sums, steps), "count": float(sums["count"])}


def curves(folder: Path) -> dict[str, list[str]]:
    """The logs of a folder without their last column, the seconds."""
    return {
        path.name: [line.rpartition(",")[0] for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.csv"))
    }


@pytest.mark.parametrize("die_at", [0, 1, 4, 5, 7, 19])
@pytest.mark.parametrize("checkpoint_s", [1e-9, 1000.0])
def test_a_run_killed_anywhere_and_resumed_logs_the_same_losses(
    tmp_path: Path, die_at: int, checkpoint_s: float
) -> None:
    """This holds with a checkpoint after each step, and with one after each epoch only."""
    train(Sum(), Run(out=tmp_path / "whole", device="cpu", checkpoint_s=checkpoint_s))
    run = Run(out=tmp_path / "died", device="cpu", checkpoint_s=checkpoint_s)
    with pytest.raises(KeyboardInterrupt):
        train(Sum(die_at), run)
    torch.manual_seed(die_at)
    resumed = Sum()
    train(resumed, run)
    assert curves(tmp_path / "died") == curves(tmp_path / "whole")
    assert len(curves(tmp_path / "whole")["sum-steps.csv"]) == 21


def test_half_a_line_left_by_a_dead_run_is_removed(tmp_path: Path) -> None:
    run = Run(out=tmp_path / "a", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(Sum(7), run)
    with (tmp_path / "a/sum-steps.csv").open("a") as file:
        file.write("2,3,0.0")
    train(Sum(), run)
    train(Sum(), Run(out=tmp_path / "b", device="cpu"))
    assert curves(tmp_path / "a") == curves(tmp_path / "b")


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run = Run(out=tmp_path, device="cpu")
    train(Sum(), run)
    other = Sum()
    other.decided_by = "product"
    with pytest.raises(ConfigError, match="another recipe"):
        train(other, run)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "sum.checkpoint").write_bytes(b"half a file")
    with pytest.raises(ModelError, match=r"sum\.checkpoint"):
        train(Sum(), Run(out=tmp_path, device="cpu"))


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    phase = Sum()
    with torch.no_grad():
        phase.net.weight.fill_(float("nan"))  # type: ignore[operator]
    with pytest.raises(ModelError, match="epoch 1, step 1 is nan"):
        train(phase, Run(out=tmp_path, device="cpu"))


def test_an_error_in_a_loading_process_is_raised_unchanged(tmp_path: Path) -> None:
    phase = Sum()
    phase.batches = Failing(5, 1, "error")
    with pytest.raises(ConfigError) as caught:
        train(phase, Run(out=tmp_path, device="cpu", workers=1))
    assert str(caught.value) == "a.jpg: not a readable picture"


def test_the_death_of_a_loading_process_is_explained(tmp_path: Path) -> None:
    """Whenever it dies, and once: no signal handler is left that would report it again in what comes after."""
    handler = signal.getsignal(signal.SIGCHLD)
    for number in range(8):
        phase = Sum()
        phase.batches = Failing(5, 1, "death")
        with pytest.raises(ModelError, match=r"a process that loads data died .*run\.workers"):
            train(phase, Run(out=tmp_path / str(number), device="cpu", workers=1))
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_too_little_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Sum, batch: Batch) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")

    monkeypatch.setattr(Sum, "losses", full)
    with pytest.raises(ModelError, match=r"too little memory .*2\.00 GiB\.\); lower batch_size"):
        train(Sum(), Run(out=tmp_path, device="cpu"))


def test_a_log_that_cannot_be_written_is_named() -> None:
    log = _Csv(Path("/dev/full"))
    with pytest.raises(ModelError, match=r"cannot write /dev/full: .*No space left"):
        log.add({"loss": 1.0}, 0.1)
    log.close()


def test_a_missing_cuda_device_is_a_config_error(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"run\.device"):
        train(Sum(), Run(out=tmp_path, device="cuda"))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_the_matrices_of_blocks_are_resumed_with_either_optimiser(tmp_path: Path, optimiser: Any) -> None:
    def phase(die_at: int | None = None) -> Sum:
        one = Sum(die_at)
        one.net = torch.nn.Sequential(OrderedDict(blocks=torch.nn.Linear(3, 3), head=torch.nn.Linear(3, 1)))
        with torch.no_grad():
            for value in one.net.parameters():
                value.copy_(torch.linspace(-0.5, 0.5, value.numel()).view_as(value))
        one.optimiser = optimiser
        return one

    train(phase(), Run(out=tmp_path / "whole", device="cpu"))
    run = Run(out=tmp_path / "died", device="cpu", checkpoint_s=1e-9)
    with pytest.raises(KeyboardInterrupt):
        train(phase(7), run)
    train(phase(), run)
    assert curves(tmp_path / "died") == curves(tmp_path / "whole")
    losses = [float(line.split(",")[2]) for line in curves(tmp_path / "whole")["sum-steps.csv"][1:]]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@pytest.mark.slow
def test_killed_with_sigkill_and_resumed(tmp_path: Path) -> None:
    """Real processes: a pre-training of a face encoder that is killed in both phases equals an undisturbed one."""
    data = synthetic_data(write_set(tmp_path / "train", 14), None, tmp_path / "cache")
    mae = {"epochs": 6, "batch_size": 4, "blr": 1e-2, "mask_ratio": 0.75}
    tune = {"epochs": 3, "batch_size": 4, "blr": 1e-2, "teacher": False}
    run = {"device": "cpu", "threads": 1, "checkpoint_s": 0.05}
    whole, killed = (face_recipe(data, tmp_path / name, mae=mae, tune=tune) for name in ("whole", "killed"))
    pretrain_face(FaceRecipe.model_validate({**whole, "run": {**run, "out": tmp_path / "whole"}}))
    recipe = write_yaml(tmp_path / "killed.yaml", {**killed, "run": {**run, "out": str(tmp_path / "killed")}})
    command = [sys.executable, "-c", COMMAND, "pretrain-face", str(recipe)]
    deaths = 0
    for log, lines in (("face-mae-steps.csv", 20), ("face-tune-steps.csv", 9)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        path = tmp_path / "killed" / log
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < lines):
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            deaths += 1
        process.wait()
    assert deaths == 2
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert curves(tmp_path / "killed") == curves(tmp_path / "whole")
    name = "encoder.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_loading_in_other_processes_changes_nothing(tmp_path: Path) -> None:
    data = synthetic_data(write_set(tmp_path / "train", 14), None, tmp_path / "cache")
    for workers in (0, 2):
        tree = face_recipe(data, tmp_path / str(workers))
        tree["run"] = {"out": tmp_path / str(workers), "device": "cpu", "workers": workers}
        pretrain_face(FaceRecipe.model_validate(tree))
    assert curves(tmp_path / "0") == curves(tmp_path / "2")
