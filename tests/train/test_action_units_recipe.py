"""Training of action units from drawings: the same after a kill, calibrated on others, refused where sets do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from helpers.training import ORIGIN, write_set, write_yaml
from PIL import Image

from streamfx.cli.train import train
from streamfx.errors import CheckpointMismatch, ConfigError
from streamfx.models.action_units import ActionUnitsModel
from streamfx.nets.fmae import SIZES
from streamfx.synth.actions import AUS
from streamfx.train import loop
from streamfx.train.action_units import REPORT, AuBatches, AuPhase, net_of, open_frames, train_action_units
from streamfx.train.au_measure import answers, report_on
from streamfx.train.au_recipe import ActionUnitsRecipe
from streamfx.train.au_sets import AU_SETS, BP4D_UNITS, AuExamples
from streamfx.train.encoder_file import EncoderInfo, save_encoder
from streamfx.train.identity_sweep import Outcome, _decided_by, draw, habitual, run_sweep, table, told_by_identity
from streamfx.train.recipe import load_recipe
from streamfx.train.results import json_text

RECIPES = Path(__file__).parents[2] / "config" / "train"
PLAIN = {"scale_min": 1.0, "rand_augment": False, "erase": 0.0, "flip": 0.0}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for name, seed, clips in (("train", 1, 8), ("held", 2, 4), ("calibration", 3, 4)):
        write_set(root / name, clips, seed, people=2 if name == "train" else 4)
    return root


def tree(sets: Path, out: Path, **changes: Any) -> dict[str, Any]:
    folders = {"train": ["train"], "held_out": ["held"], "calibration": ["calibration"]}
    synthetic = {role: [str(sets / name) for name in names] for role, names in folders.items()}
    data = {"image_size": 32, "synthetic": synthetic | {"cache": str(sets / "cache"), "processes": 1}}
    base = {
        "data": data, "size": "tiny", "epochs": 2, "batch_size": 16, "blr": 1e-2, "reversal": 1.0, "intensity": 1.0,
        "augment": PLAIN, "origin": ORIGIN, "run": {"out": str(out), "device": "cpu", "threads": 1},
    }  # fmt: skip
    return base | changes


def recipe(sets: Path, out: Path, **changes: Any) -> ActionUnitsRecipe:
    return load_recipe(ActionUnitsRecipe, write_yaml(sets / f"{out.name}.yaml", tree(sets, out, **changes)))


def test_a_recipe_gives_a_model_with_thresholds_and_novelty(sets: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(
        train, ["action-units", str(write_yaml(tmp_path / "r.yaml", tree(sets, tmp_path / "out")))]
    )
    assert run.exit_code == 0, run.output
    model = ActionUnitsModel.load(tmp_path / "out" / "model")
    assert model.info.labels == AUS and model.info.facts["novelty"] is True
    assert set(model.info.facts["thresholds"]) <= set(AUS) and model.info.facts["thresholds"]
    said = model.run({"frames": torch.zeros(2, 16, 3, 32, 32, dtype=torch.uint8)})
    assert {name: list(value.shape) for name, value in said.items()} == {
        "presence": [2, 16, 19], "intensity": [2, 16, 19], "novelty": [2, 16],
    }  # fmt: skip
    report = json.loads((tmp_path / "out" / REPORT).read_text(), parse_constant=pytest.fail)
    assert report["people"] == 2 and report["all"]["frames"] == 16
    value, low, high = report["all"]["f1_at_half"]["mean"]
    assert 0 <= value <= 1 and low is None and high is None, "two people are too few for an interval"
    groups = report["all"]["groups"]
    assert {"sex", "age_group", "skin", "pose", "kind"} <= set(groups)
    assert all(sum(one["frames"] for one in words.values()) == 16 for words in groups.values())
    assert set(report["novel"]) == {"kind", "pose", "auc"} and report["leak"]["people"] == 2
    assert report["all"]["f1_at_calibrated"]["windows"] == 4
    assert report["calibration"]["windows"] == 4 and 0 <= report["calibration"]["null"] <= 1


def test_a_killed_run_writes_the_same_losses(sets: Path, tmp_path: Path) -> None:
    whole = recipe(sets, tmp_path / "whole", augment={"spoil": 0.5})
    train_action_units(whole)
    parts = recipe(sets, tmp_path / "parts", augment={"spoil": 0.5})
    phase = AuPhase(net_of(parts, 19), open_frames(parts.data), parts)

    class Killed(Exception):
        pass

    steps = 0
    original = phase.losses

    def dies(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Killed
        return original(batch)

    phase.losses = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        loop.train(phase, parts.run)
    train_action_units(parts)
    losses = [
        [line.split(",")[2] for line in (tmp_path / name / "action-units-steps.csv").read_text().splitlines()[1:]]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_layers_learn_the_slower_the_deeper_they_lie(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", layer_decay=0.5)
    phase = AuPhase(net_of(made, 19), open_frames(made.data), made)
    shares = {
        name: phase.rate_share(name)
        for name in ("net.patch_embed.proj.weight", "net.blocks.0.attn.qkv.weight", "net.blocks.3.mlp.fc1.bias",
                     "net.fc_norm.weight", "net.head.weight", "net.intensity_head.bias", "ID_head.weight")
    }  # fmt: skip
    assert list(shares.values()) == [0.5**5, 0.5**4, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_weight_decay_leaves_out_vectors_the_cls_token_and_the_positions(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out")
    phase = AuPhase(net_of(made, 19), open_frames(made.data), made)
    names = ("net.cls_token", "net.pos_embed", "net.fc_norm.weight", "net.blocks.0.attn.qkv.bias", "net.head.bias",
             "net.patch_embed.proj.weight", "net.blocks.0.attn.qkv.weight", "net.head.weight", "ID_head.weight")  # fmt: skip
    trained = {name: value for name, value in phase.net.named_parameters() if value.requires_grad}
    assert [phase.decays(name, trained[name]) for name in names] == [False] * 5 + [True] * 4
    decayed = {
        id(value)
        for group in loop._optimisers(phase)[0].param_groups
        if group["weight_decay"]
        for value in group["params"]
    }
    assert [id(trained[name]) in decayed for name in names] == [False] * 5 + [True] * 4


def test_the_optimiser_steps_each_layer_by_its_share(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", layer_decay=1e-3, epochs=1, drop_path=0.0)
    phase, fresh = AuPhase(net_of(made, 19), open_frames(made.data), made), net_of(made, 19)
    loop.train(phase, made.run)
    moved = {
        name: float((value - fresh.get_parameter(name)).abs().max().detach())
        for name, value in phase.net.net.named_parameters()
    }
    assert moved["head.weight"] > 1e-4
    assert 0 < moved["blocks.3.mlp.fc1.weight"] < 1e-2 * moved["head.weight"]
    assert moved["patch_embed.proj.weight"] < 1e-9


def test_the_rate_ends_at_the_least() -> None:
    schedule = loop.Schedule(epochs=4, steps=10, peak=1.0, warmup_epochs=1, least=0.1)
    assert [schedule.rate(epoch, 0) for epoch in (0, 1, 4)] == pytest.approx([0.0, 1.0, 0.1])


def test_it_trains_in_bfloat16(sets: Path, tmp_path: Path) -> None:
    run = {"out": str(tmp_path / "out"), "device": "cpu", "threads": 1, "precision": "bf16"}
    assert ActionUnitsModel.load(train_action_units(recipe(sets, tmp_path / "out", epochs=1, run=run))).info.trained


def test_what_is_measured_is_what_is_stored(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", epochs=1, weights="float16")
    model, held_out = ActionUnitsModel.load(train_action_units(made)), open_frames(made.data).held_out
    said = answers(model.net, held_out, torch.device("cpu"))
    stored = json.loads(json_text(report_on(held_out, said, model.info.facts)))
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["all"]["icc_3_1"]["by_unit"] == pytest.approx(stored["all"]["icc_3_1"]["by_unit"], abs=1e-6)


def test_a_model_of_coded_faces_has_the_authors_threshold(sets: Path, tmp_path: Path) -> None:
    """Else it would have no column in the line."""
    lines = []
    for path in (f"{who}/T{task}/1.jpg" for who in ("F001", "F003", "F005") for task in (1, 2)):
        (tmp_path / path).parent.mkdir(parents=True)
        Image.new("RGB", (40, 40), (90, 60, 50)).save(tmp_path / path)
        lines.append(json.dumps({"img_path": path, "AUs": [6, 12]}) + "\n")
    (tmp_path / "labels.json").write_text("".join(lines))
    data = {"image_size": 32, "bp4d": {"root": str(tmp_path), "labels": "labels.json", "fold": 1}}
    made = recipe(sets, tmp_path / "out", data=data, intensity=0.0, batch_size=2, epochs=1)
    model = ActionUnitsModel.load(train_action_units(made))
    assert model.info.labels == BP4D_UNITS and model.info.facts["thresholds"] == dict.fromkeys(BP4D_UNITS, 0.5)


def test_batches_hold_what_a_frame_shows_and_who_it_is(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out")
    frames = open_frames(made.data)
    assert len(frames.train) == 8 * 4 and frames.people == ("s1-i0", "s1-i1")
    batch = AuBatches(frames.train, frames.people, made)[0]
    assert batch["identity"].sum(dim=1).tolist() == [1.0] * 16
    np.testing.assert_array_equal(batch["present"].numpy(), (batch["intensity"].numpy() * 5 >= 1 - 1e-6).astype(float))


def test_an_encoder_gives_its_blocks_and_one_of_another_size_is_refused(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", encoder=str(tmp_path / "encoder"))
    for depth, fits in ((4, True), (3, False)):
        sizes = dict(SIZES["tiny"]) | {"depth": depth}
        info = EncoderInfo(kind="face", patch=16, mlp_ratio=4, grid=(7, 7), **sizes, **ORIGIN)
        state = {name: torch.full(value.shape, 0.25) for name, value in info.encoder().state_dict().items()}
        save_encoder(tmp_path / "encoder", state, info)
        if fits:
            net = net_of(made, 19)
            assert (net.blocks[2].mlp.fc1.weight == 0.25).all() and net.pos_embed.shape == (1, 5, 128)
            assert (net.fc_norm.weight == 1).all()
            assert 1e-5 < float(net.head.weight.detach().std()) < 3e-5, "as in MAE's fine-tuning"
        else:
            with pytest.raises(CheckpointMismatch, match=r"does not have the net's size: depth \(expected 4, got 3\)"):
                net_of(made, 19)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"image_size": 32}}, "exactly one of"),
        ({"data": {"bp4d": {"root": "x", "labels": "y", "fold": 1}}}, "intensity needs coded intensities"),
        ({"reversal": -1}, "reversal"),
        ({"size": "huge"}, "size"),
        ({"lambda": 1}, "lambda"),
        ({"optimiser": "muon"}, "muon steps all blocks alike"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(sets: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(sets, tmp_path / "out", **change)


def test_people_of_two_sets_are_refused(sets: Path, tmp_path: Path) -> None:
    changed = tree(sets, tmp_path / "out")
    changed["data"]["synthetic"]["calibration"] = changed["data"]["synthetic"]["held_out"]
    made = load_recipe(ActionUnitsRecipe, write_yaml(tmp_path / "r.yaml", changed))
    with pytest.raises(ConfigError, match=r"data.synthetic.calibration: expected people who are in no other set"):
        train_action_units(made)


def test_sets_without_a_clear_face_are_refused(sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfx.train.action_units.clear", lambda examples: np.zeros(len(examples), bool))
    with pytest.raises(ConfigError, match=r"data.synthetic.train: expected clear faces among the clips, found none"):
        train_action_units(recipe(sets, tmp_path / "out"))


def test_a_run_that_is_kept_depends_on_what_its_encoder_holds(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", encoder=str(tmp_path / "encoder"))
    digests = []
    for content in (b"one", b"two"):
        (tmp_path / "encoder").write_bytes(content)
        digests.append(_decided_by(made))
    assert digests[0] != digests[1]


def test_the_chosen_clips_tie_units_to_people() -> None:
    """Six people with four clips each, of which two are alike: those are chosen, and then who it is tells nearly all."""
    rng = np.random.default_rng(0)
    habits = rng.uniform(0, 5, (6, 1, len(AUS)))
    clips = np.concatenate((habits + 0.1 * rng.standard_normal((6, 2, 19)), rng.uniform(0, 5, (6, 2, 19))), axis=1)
    people = np.repeat([f"p{number}" for number in range(6)], 8)
    names = np.repeat([f"p{number // 4}-c{number % 4}" for number in range(24)], 2)
    intensity = np.repeat(clips.reshape(24, 19), 2, axis=0).astype(np.float32)
    frames = AuExamples(AUS, intensity >= 1, intensity, people, names, pd.DataFrame({"clip": names}), 1.0, None)
    chosen = frames.only(habitual(frames))
    assert {name[-2:] for name in chosen.clips} == {"c0", "c1"} and len(chosen) == 6 * 2 * 2
    assert told_by_identity(chosen) > 0.9 > 0.5 > told_by_identity(frames)
    others = frames.only(np.flatnonzero(np.isin([name[-2:] for name in names], ("c2", "c3"))))
    assert abs(told_by_identity(others)) < 0.25
    assert np.isnan(told_by_identity(frames.only(np.flatnonzero(names == "p0-c0"))))


def test_weak_clips_are_not_chosen_for_being_weak() -> None:
    """Two neutral clips are close to each other; two strong ones of one kind are alike."""
    clips = np.zeros((4, len(AUS)), np.float32)
    clips[0, 0], clips[1, 1] = 0.3, 0.3
    clips[2, :3], clips[3, :3] = (4, 3, 2), (3, 3, 2)
    names = np.array(["c0", "c1", "c2", "c3"])
    frames = AuExamples(AUS, clips >= 1, clips, np.repeat("p0", 4), names, pd.DataFrame({"clip": names}), 1.0, None)
    assert habitual(frames).tolist() == [2, 3]


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(sets: Path, tmp_path: Path) -> None:
    made = recipe(sets, tmp_path / "out", epochs=1)
    said: list[str] = []
    folder = run_sweep(made, [1], said.append)
    assert len(json.loads((folder / "sweep.json").read_text())["runs"]) == 5
    assert (folder / "sweep.png").is_file() and "linear probe" in (folder / "sweep.md").read_text()
    run_sweep(made, [1], said.append)
    assert [line.endswith("kept") for line in said[1:]] == [False] * 5 + [False] + [True] * 5
    with pytest.raises(ConfigError, match="made by another recipe"):
        run_sweep(recipe(sets, tmp_path / "out", epochs=1, blr=5e-3), [1], said.append)


def test_a_sweep_says_what_it_shows_and_what_not() -> None:
    def run(share: float, seed: int, f1: float, linear: float) -> Outcome:
        return Outcome(share, seed, f1, f1, None, linear, linear, 20, "x")

    outcomes = [run(0.0, 1, 0.6, 0.9), run(0.0, 2, 0.6, 0.8), run(0.02, 1, 0.7, 0.4), run(0.02, 2, 0.65, 0.5),
                run(0.1, 1, 0.7, 0.95), run(0.1, 2, 0.5, 0.3)]  # fmt: skip
    told = table(outcomes, {"chosen": 0.8, "held out": 0.2})
    assert "| 0.02 | 67.5 ± 3.5 |" in told
    assert "At 0.02 the linear probe falls with every seed; F1 rises with every seed" in told
    assert "At 0.1 the linear probe does not fall with every seed; F1 does not hold with every seed" in told
    assert draw(outcomes).size == (720, 420)


@pytest.mark.parametrize(
    ("name", "people", "reversal", "epochs"),
    [("bp4d", 41, 2.0, 30), ("bp4d-plus", 140, 1.0, 30), ("disfa", 27, 0.5, 20)],
)
def test_the_recipes_have_the_authors_settings(name: str, people: int, reversal: float, epochs: int) -> None:
    made = load_recipe(ActionUnitsRecipe, RECIPES / f"fmae-iat-{name}.yaml")
    assert made.data.coded is not None
    assert len(AU_SETS[made.data.coded[0]].people) == people
    assert (made.reversal, made.epochs, made.warmup_epochs, made.blr) == (reversal, epochs, epochs / 10, 5e-4)
    assert (made.batch_size, made.weight_decay, made.layer_decay, made.drop_path) == (64, 0.05, 0.65, 0.1)
    assert made.augment.rand_augment and made.augment.erase == 0.25 and made.least_rate == 1e-6


@pytest.mark.parametrize("name", ["small-action-units", "action-units-sweep"])
def test_our_own_recipes_can_be_read(name: str) -> None:
    assert load_recipe(ActionUnitsRecipe, RECIPES / f"{name}.yaml").size == "tiny"
