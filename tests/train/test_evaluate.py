"""Evaluation: a model's answers are counted by class, group and condition, as one line of JSON and as a page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from helpers.foreign import WEIGHTS, light_model
from PIL import Image
from skimage import data

from streamfx.cli.evaluate import evaluate as command
from streamfx.errors import EvaluationError, ModelError
from streamfx.media.audio import missing_sound
from streamfx.models.card import resolve_model
from streamfx.models.expression import logits
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.records import Window
from streamfx.testing import make_window
from streamfx.train.evaluate import (
    CONDITIONS,
    Evaluation,
    Measures,
    Sample,
    StillsEvaluation,
    evaluate,
    evaluate_stills,
)
from streamfx.train.evaluation_page import write_page
from streamfx.train.results import json_text
from streamfx.train.scorer import Scorer
from streamfx.train.stills import StillCutter

MODEL = "expression-tiny"


def answers(windows: Sequence[Window]) -> list[str]:
    with Scorer(MODEL) as scorer:
        return [LABELS_7[i] for i in scorer.probabilities(windows).argmax(axis=1)]


def run(samples: Sequence[Sample], source: str = "made-up") -> Evaluation:
    with Scorer(MODEL) as scorer:
        return evaluate(scorer, samples, source)


def run_stills(folder: Path) -> StillsEvaluation:
    with Scorer(MODEL) as scorer:
        return evaluate_stills(scorer, folder)


def other(label: str) -> str:
    return LABELS_7[(LABELS_7.index(label) + 1) % 7]


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return [make_window(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def evaluation(windows: list[Window]) -> Evaluation:
    """Four right answers in group `a` and two wrong ones in group `b`."""
    named = answers(windows)
    labels = [*named[:4], *(other(label) for label in named[4:])]
    samples = [
        Sample(w, label, {"group": "a" if i < 4 else "b"})
        for i, (w, label) in enumerate(zip(windows, labels, strict=True))
    ]
    return run(samples)


# --- the scorer ---


def test_the_scorer_gives_the_models_probabilities(windows: list[Window]) -> None:
    with Scorer(MODEL) as scorer:
        scored = scorer.probabilities(windows)
    assert scored.shape == (6, 7)
    for row, one in zip(scored[4:], windows[4:], strict=True):
        frames = np.ascontiguousarray(one.frames.transpose(0, 3, 1, 2))[None]
        exact = np.exp(logits(resolve_model(MODEL), frames, one.fbank[None, None]))
        assert row == pytest.approx(exact / exact.sum(), abs=1e-4)


def test_no_windows_give_no_rows() -> None:
    with Scorer(MODEL) as scorer:
        assert scorer.probabilities([]).shape == (0, 7)


def test_a_path_without_a_model_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing-of-the-kind"):
        Scorer("nothing-of-the-kind")


# --- a labelled set ---


def test_the_confusion_counts_the_models_answers(evaluation: Evaluation) -> None:
    assert evaluation.whole.n == 6
    assert evaluation.whole.war == pytest.approx(4 / 6)
    assert np.trace(evaluation.whole.confusion) == 4


def test_groups_are_counted_separately(evaluation: Evaluation) -> None:
    right, wrong = evaluation.groups["group"]["a"], evaluation.groups["group"]["b"]
    assert (right.n, right.war, right.uar) == (4, 1.0, 1.0)
    assert (wrong.n, wrong.war, wrong.uar) == (2, 0.0, 0.0)


def test_the_interval_is_over_people() -> None:
    """Six people of one class, three named rightly and three not: draws give a UAR from near 0 to near 1."""
    truth, named, people = np.zeros(6, np.int64), np.array([0, 0, 0, 1, 1, 1]), np.array(list("abcdef"))
    found = Measures.of(LABELS_7, truth, np.eye(7)[named], people).uar_interval
    assert found is not None and found.value == 0.5 and found.low < 0.2 and found.high > 0.8
    assert Measures.of(LABELS_7, truth[:4], np.eye(7)[named[:4]], people[:4]).uar_interval is None, "too few people"


def test_a_set_that_says_who_is_seen_gets_intervals(windows: list[Window], evaluation: Evaluation) -> None:
    samples = [Sample(windows[0], "anger", {"group": "a"}, person) for person in "abcde"]
    found = run(samples)
    assert found.whole.brief()["uar_interval"] is not None
    assert found.groups["group"]["a"].uar_interval == found.conditions["as_is"].uar_interval
    assert evaluation.whole.brief()["uar_interval"] is None


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_scores_the_changed_window(windows: list[Window], condition: str) -> None:
    change, two = CONDITIONS[condition][1], windows[:2]
    samples = [Sample(w, label) for w, label in zip(two, answers([change(w) for w in two]), strict=True)]
    assert run(samples).conditions[condition].war == 1.0


def test_conditions_remove_what_their_names_say(windows: list[Window]) -> None:
    photograph = np.asarray(Image.fromarray(data.astronaut()[:224, 100:324]))
    clear = replace(windows[0], frames=np.stack([photograph] * 16))
    changed = {name: change(clear) for name, (_, change) in CONDITIONS.items()}
    assert (changed["as_is"].frames == clear.frames).all() and (changed["as_is"].fbank == clear.fbank).all()
    assert (changed["video_only"].fbank == missing_sound()).all() and not changed["video_only"].audio_present
    assert (changed["sound_only"].frames == 0).all() and (changed["sound_only"].fbank == clear.fbank).all()
    small, compressed = changed["faces_small"].frames, changed["compressed"].frames
    assert small.shape == compressed.shape == clear.frames.shape
    assert detail(small[0]) < 0.5 * detail(photograph)
    assert 2 < np.abs(compressed[0].astype(int) - photograph).mean() < 15


def detail(picture: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(picture.astype(int), axis=1)).mean())


def test_a_label_that_the_model_does_not_know_is_left_out_and_counted(windows: list[Window]) -> None:
    result = run([Sample(windows[0], "anger"), Sample(windows[1], "contempt")])
    assert result.whole.n == 1 and result.skipped == {"contempt": 1}


@pytest.mark.parametrize("labels", [[], ["contempt"]])
def test_nothing_to_measure_is_an_error(windows: list[Window], labels: list[str]) -> None:
    with pytest.raises(EvaluationError, match="expected examples of at least one of happiness"):
        run([Sample(windows[0], label) for label in labels])


def test_the_json_holds_every_measure(evaluation: Evaluation) -> None:
    text = json_text(evaluation.as_json())
    assert "\n" not in text and "NaN" not in text
    values = json.loads(text)
    assert values["model"] == MODEL and values["set"] == "made-up" and values["n"] == 6
    assert values["war"] == pytest.approx(4 / 6, abs=1e-4)
    assert set(values["conditions"]) == set(CONDITIONS)
    assert values["conditions"]["as_is"]["uar"] == values["uar"]
    assert values["groups"]["group"]["b"] == {
        "n": 2,
        "war": 0.0,
        "uar": 0.0,
        "uar_interval": None,
        "ece": values["groups"]["group"]["b"]["ece"],
    }
    assert set(values["recall"]) <= set(LABELS_7)
    assert np.array(values["confusion"]).sum() == sum(values["reliability"]["counts"]) == 6


def test_the_page_is_one_file_and_two_pictures(evaluation: Evaluation, tmp_path: Path) -> None:
    paths = write_page(replace(evaluation, skipped={"<contempt>": 3}), tmp_path / "report")
    assert [path.name for path in paths] == ["evaluation.json", "evaluation.html", "confusion.png", "reliability.png"]
    page = paths[1].read_text()
    assert f"UAR {evaluation.whole.uar:.3f}" in page and "untrained" in page
    assert all(title in page for title, _ in CONDITIONS.values())
    assert "3 of &lt;contempt&gt;" in page
    assert page.count("data:image/png;base64,") == 2 and "http" not in page
    assert json.loads(paths[0].read_text())["n"] == 6
    for path in paths[2:]:
        picture = np.asarray(Image.open(path))
        assert min(picture.shape[:2]) > 500 and picture.std() > 10


# --- stills ---


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """A photograph with a face, a tight grey crop of it, and a picture without a face."""
    astronaut = Image.fromarray(data.astronaut())
    tight = astronaut.crop((165, 62, 281, 178)).resize((48, 48)).convert("L")
    return [astronaut, tight, Image.new("RGB", (64, 48), (90, 120, 200))]


@pytest.fixture(scope="module")
def named(pictures: list[Image.Image]) -> list[str]:
    with StillCutter() as cutter:
        return answers([cutter.cut(np.asarray(picture.convert("RGB"))).window for picture in pictures])


def save(root: Path, pictures: Sequence[Image.Image], labels: Sequence[str]) -> Path:
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (root / label).mkdir(parents=True, exist_ok=True)
        picture.save(root / label / f"{i}.png")
    return root


def test_stills_sorted_by_the_models_answers_are_all_right(
    tmp_path: Path, pictures: list[Image.Image], named: list[str]
) -> None:
    result = run_stills(save(tmp_path, pictures, named))
    assert result.measures.war == result.measures.uar == result.restricted.uar == 1.0
    assert (result.measures.n, result.faces_found, result.used_whole) == (3, 2, 2)


def test_uar_present_ignores_classes_missing_from_the_folder(
    tmp_path: Path, pictures: list[Image.Image], named: list[str]
) -> None:
    result = run_stills(save(tmp_path, pictures[:1], [other(named[0])]))
    assert (result.measures.uar, result.restricted.uar) == (0.0, 1.0)


def test_unreadable_pictures_are_named_and_not_counted(
    tmp_path: Path, pictures: list[Image.Image], named: list[str]
) -> None:
    save(tmp_path, pictures[:1], named[:1])
    (tmp_path / named[0] / "broken.png").write_bytes(b"not a picture")
    result = run_stills(tmp_path)
    assert result.unreadable == (f"{named[0]}/broken.png",) and result.measures.n == 1
    (tmp_path / named[0] / "0.png").unlink()
    with pytest.raises(EvaluationError, match="expected at least one readable picture, got 1 files that are not"):
        run_stills(tmp_path)


def test_the_command_prints_one_line_of_json(tmp_path: Path, pictures: list[Image.Image], named: list[str]) -> None:
    save(tmp_path, [*pictures, pictures[0]], [*named, "contempt"])
    (tmp_path / named[0] / "broken.png").write_bytes(b"")
    done = CliRunner().invoke(command, ["--model", MODEL, "--stills", str(tmp_path), "--json"], catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.count("\n") == 1
    values = json.loads(done.stdout)
    assert values["war"] == values["uar"] == 1.0
    assert values["recall"] == {label: 1.0 for label in values["classes"]}
    assert sum(values["classes"].values()) == values["n"] == 3
    assert values["skipped"] == {"contempt": 1} and len(values["unreadable"]) == 1
    assert "contempt" in done.stderr and "broken.png" in done.stderr


def test_a_file_name_that_is_invalid_text_keeps_the_json_valid(
    tmp_path: Path, pictures: list[Image.Image], named: list[str]
) -> None:
    save(tmp_path, pictures[:1], named[:1])
    name = os.fsdecode(b"na\xefve.png")
    (tmp_path / named[0] / name).write_bytes(b"")
    done = CliRunner().invoke(command, ["--model", MODEL, "--stills", str(tmp_path), "--json"], catch_exceptions=False)
    assert done.stdout.isascii() and json.loads(done.stdout)["unreadable"] == [f"{named[0]}/{name}"]


def test_without_json_the_command_prints_a_table(tmp_path: Path, pictures: list[Image.Image], named: list[str]) -> None:
    done = CliRunner().invoke(command, ["--model", MODEL, "--stills", str(save(tmp_path, pictures, named))])
    assert done.exit_code == 0
    assert f"recall of {named[0]}" in done.stdout and "UAR 1.000" in done.stdout
    assert "3 pictures, a face found in 2, 2 used whole, 0 unreadable" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--stills", "a", "--set", "b"],
        ["--stills", "a", "--fold", "1"],
        ["--dfew", "a"],
        ["--stills", "a", "--out", "b"],
    ],
)
def test_conflicting_options_are_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2


# --- the kind of model ---

UNITS, ATTRIBUTES = ("action-units",), ("attributes-lnet", "attributes-shared")


@pytest.mark.parametrize(
    ("models", "source", "said"),
    [
        ((MODEL,), "lfwa", "a model for expressions is measured over --set, --dfew, --mafw or --stills, not over --lfwa"),
        ((), "celeba", "not over --celeba; name another model by --model"),
        (UNITS, "celeba", "a model for action units is measured over --set, not over --celeba"),
        (ATTRIBUTES, "stills", "a model for attributes is measured over --set, --celeba or --lfwa, not over --stills"),
        ((MODEL, *UNITS), "set", f"expected models of one kind, got {MODEL} for expressions, action-units for action units"),
        ((*ATTRIBUTES, *UNITS), "set", "give the command once for each kind"),
        ((MODEL, MODEL), "set", "give one --model for expressions; only models for attributes stand side by side"),
        (UNITS * 2, "set", "give one --model for action units"),
    ],
)  # fmt: skip
def test_what_a_model_is_measured_over_depends_on_its_kind(models: tuple[str, ...], source: str, said: str) -> None:
    done = CliRunner().invoke(command, [*(f"--model={model}" for model in models), f"--{source}", "anywhere"])
    assert done.exit_code == 2 and said in done.output


def test_a_model_of_a_kind_that_only_others_know_is_refused() -> None:
    with light_model():
        done = CliRunner().invoke(command, ["--model", str(WEIGHTS), "--set", "anywhere"])
    assert done.exit_code == 2
    assert (
        "expected a model for one of expressions, action units, attributes, got one of the kind 'light'" in done.output
    )
