"""The operator `ask`: which windows are asked about, what stands in a row, and which questions are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.ask import ask_model
from pydantic import ValidationError
from streamfx_operators.ask import Ask, AskConfig

from streamfx.config.serving import Serving
from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.operator import ModelOperator
from streamfx.pipeline import load_config
from streamfx.records import MICROSECONDS, Window
from streamfx.runtime.preflight import check
from streamfx.serving.client import open_model
from streamfx.testing import make_context, make_window, run_scores

pytest.importorskip("tokenizers", reason="pip install 'streamfx[ask]'")

GLASSES = {"question": "Does this person wear glasses?"}
MOOD = {"question": "Which expression does this face show?", "answers": ["happy", "sad", "neutral"]}
OLD = {"question": "Is this person older than 60?"}
START_US = 1_700_000_000 * MICROSECONDS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ask_model(tmp_path_factory.mktemp("ask") / "model")


@pytest.fixture
def operator(weights: Path) -> Iterator[Any]:
    made: list[Ask] = []

    def make(**section: Any) -> Ask:
        context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
        config = AskConfig.model_validate(
            {"model": str(weights), "questions": {"glasses": GLASSES, "mood": MOOD}} | section
        )
        made.append(Ask(config, context))
        return made[-1]

    yield make
    for one in made:
        one.close()


def window(second: int, track: int = 0, stream: str = "camera") -> Window:
    start_us = START_US + second * MICROSECONDS
    return make_window(
        second + 10 * track, side=32, start_us=start_us, stream_id=stream, birth_us=START_US, birth_index=track
    )


def test_a_track_is_asked_every_so_often_and_its_other_windows_say_nothing(operator: Any) -> None:
    rows = run_scores(operator(every_s=2.0), [window(second) for second in range(4)])
    assert [row["ask_outcome"] for row in rows] == ["answered", None, "answered", None]
    for row in rows[::2]:
        assert row["ask_glasses"] in ("yes", "no") and row["ask_mood"] in ("happy", "sad", "neutral")
        assert 0.5 <= row["ask_glasses_probability"] <= 1 and 1 / 3 <= row["ask_mood_probability"] <= 1
    assert all(value is None for row in rows[1::2] for value in row.values())


def test_beyond_the_budget_older_tracks_are_asked_and_the_rows_of_the_others_say_so(
    operator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = operator(every_s=1.0, most_per_s=5.0)  # two questions a face: two faces each time
    windows = [window(second, track) for second in range(2) for track in range(3)]
    windows += [window(1, 0, "another")]
    rows = run_scores(made, windows)
    turn = ["answered", "answered", "over_budget"]
    assert [row["ask_outcome"] for row in rows] == [*turn, *turn, "answered"]
    assert rows[2]["ask_glasses"] is None
    assert "ask.most_per_s = 5 is reached" in caplog.text


def test_an_answer_does_not_depend_on_what_else_is_asked(operator: Any) -> None:
    both = run_scores(operator(), [window(0)])[0]
    alone = run_scores(operator(questions={"mood": MOOD}), [window(0)])[0]
    assert both["ask_mood"] == alone["ask_mood"]
    assert both["ask_mood_probability"] == pytest.approx(alone["ask_mood_probability"], abs=1e-4)


def test_a_sensitive_question_is_yes_or_no_without_a_probability_and_leaves_by_the_rule(operator: Any) -> None:
    made = operator(questions={"old": OLD})
    assert [(column.name, column.kind, column.sensitive) for column in made.columns[1:]] == [("ask_old", "bool", "age")]
    assert Ask.sensitive_columns(made.config) == [made.columns[1].__class__(
        "ask_old", "bool", made.columns[1].description.replace("ask-for-tests", "the model"), sensitive="age"
    )]  # fmt: skip
    with pytest.raises(PrivacyRefusal, match=r"ask_old: sensitive \(age\); expected privacy.sensitive"):
        run_scores(made, [window(0)])


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"question": "Is he lying?"}, "rule "),
        ({"question": "What is the religion of this person?", "answers": ["a", "b"]}, "rule "),
        ({"question": "Which age group is this?", "answers": ["child", "adult"]}, "a question about age is sensitive"),
        ({"question": "Is there a hat?", "answers": ["yes", "yes"]}, "answers: expected different ones"),
        ({"question": "Is there a hat?", "answers": [True, False]}, "valid string"),
    ],
)
def test_a_question_that_may_not_be_asked_is_refused_by_its_path_and_not_repeated(
    question: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        AskConfig.model_validate({"questions": {"one": question}})
    assert all(error["loc"][:2] == ("questions", "one") for error in refused.value.errors())
    assert question["question"] not in " ".join(error["msg"] for error in refused.value.errors())


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"questions": {}}, "expected 1 to 16, got 0"),
        ({"questions": {"Big": GLASSES}}, "lower-case"),
        ({"questions": {"a": GLASSES, "a_probability": GLASSES}}, "two would fill one column"),
        ({"questions": {"outcome": GLASSES}}, "two would fill one column"),
        ({"questions": {"a": GLASSES, "b": GLASSES}, "every_s": 0.5, "most_per_s": 3.0}, "one face is asked 2"),
    ],
)
def test_sections_that_cannot_work_are_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AskConfig.model_validate(section)


def _config(weights: Path, tmp_path: Path, **ask: Any) -> Any:
    return load_config(
        {
            "source": {"files": {"paths": ["x.mp4"]}},
            "pipeline": ["faces", "windows", "ask", "redact"],
            "ask": {"model": str(weights), "questions": {"glasses": GLASSES}} | ask,
            "privacy": {"purpose": "test", "deployment_context": "retail"},
            "sink": {"path": str(tmp_path / "out")},
        }
    )


def test_the_check_of_a_configuration_names_what_cannot_work(weights: Path, tmp_path: Path) -> None:
    def findings(**ask: Any) -> list[str]:
        return [str(one) for one in check(_config(weights, tmp_path, **ask)).findings if one.kind == "wrong"]

    assert findings() == []
    assert findings(every_s=1.5)[0].startswith("ask.every_s: expected a multiple of windows.hop_s, 1, got 1.5")
    assert "expected privacy.sensitive" in findings(questions={"old": OLD})[0]
    with pytest.raises(ConfigError, match=r"ask\.questions\.lie: rule "):
        _config(weights, tmp_path, questions={"lie": {"question": "Is he lying?"}})


def test_all_windows_share_one_array_of_questions(operator: Any) -> None:
    made = operator()
    assert isinstance(made, ModelOperator)
    first, second = (made.inputs(window(at))["asked"] for at in (0, 2))
    assert first is second and not first.flags.writeable
