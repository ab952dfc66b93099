"""Sensitive columns: none without a purpose, of one kind only, few, and yes or no; whichever operator declares them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamfx.columns import Column, Sensitive
from streamfx.config.privacy import PrivacySection, SensitiveColumns
from streamfx.errors import PrivacyRefusal
from streamfx.operator import Operator, OperatorConfig, ScoreOperator, columns_of
from streamfx.pipeline import find_operator, load_config
from streamfx.privacy.rows import Rows
from streamfx.privacy.sensitive import MAX_TOGETHER, check_sensitive
from streamfx.runtime.preflight import check
from streamfx.testing import make_context, make_privacy, make_pseudonyms

KINDS: tuple[Sensitive, ...] = get_args(Sensitive)
WHY = "whether the adverts reach all ages, yearly audit 2026"


def section(kind: Sensitive | None, context: str = "research") -> PrivacySection:
    sensitive = {"kind": kind, "purpose": WHY} if kind else None
    return PrivacySection.model_validate({"purpose": "test", "deployment_context": context, "sensitive": sensitive})


def columns(*kinds: Sensitive | None, kind: Any = "bool") -> list[Column]:
    return [Column(f"c{number}", kind, "told", sensitive=told) for number, told in enumerate(kinds)]


def test_columns_that_tell_nothing_need_no_purpose() -> None:
    check_sensitive(columns(None, None, kind="float"), section(None))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_purpose_no_sensitive_column_leaves(kind: Sensitive) -> None:
    with pytest.raises(PrivacyRefusal, match=r"c0: sensitive .*; expected privacy.sensitive"):
        check_sensitive(columns(kind), section(None))
    check_sensitive(columns(kind), section(kind))


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(KINDS, 2)))
def test_two_kinds_never_leave_beside_each_other(one: Sensitive, other: Sensitive) -> None:
    with pytest.raises(PrivacyRefusal, match="another kind never leave beside it"):
        check_sensitive(columns(one, other), section(one))
    with pytest.raises(PrivacyRefusal, match="another kind never leave beside it"):
        check_sensitive(columns(other), section(one))


@given(st.data(), st.sampled_from([None, *KINDS]))
def test_what_passes_is_of_one_kind_and_parts_people_into_eight_sorts(
    data: st.DataObject, allowed: Sensitive | None
) -> None:
    # Mostly of the one kind that is allowed, else what is too many would rarely be drawn.
    drawn = st.sampled_from([None, allowed]) | st.sampled_from([None, *KINDS])
    kinds = data.draw(st.lists(st.sampled_from([None, allowed]), max_size=6) | st.lists(drawn, max_size=8))
    told = [kind for kind in kinds if kind]
    keeps = not told or (set(told) == {allowed} and len(told) <= MAX_TOGETHER)
    try:
        check_sensitive(columns(*kinds), section(allowed))
    except PrivacyRefusal:
        assert not keeps
    else:
        assert keeps and 2 ** len(told) <= 8


def test_a_graded_sensitive_column_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="of kind bool"):
        check_sensitive(columns("age", kind="float"), section("age"))


@pytest.mark.parametrize("kind", ["skin", "origin"])
def test_skin_and_origin_leave_only_in_research(kind: Sensitive) -> None:
    with pytest.raises(PrivacyRefusal, match=r"Article 5\(1\)\(g\)\), got 'retail'"):
        check_sensitive(columns(kind), section(kind, "retail"))


def test_the_maker_of_rows_refuses_them_whoever_declares_them_and_the_purpose_is_in_every_file() -> None:
    def rows(privacy: PrivacySection) -> Rows:
        return Rows(privacy, make_pseudonyms(privacy), "cfg", columns("age"))

    with pytest.raises(PrivacyRefusal, match=r"privacy\.sensitive"):
        rows(make_privacy())
    assert rows(section("age")).footer()["sensitive"] == f"age: {WHY}"
    assert "sensitive" not in Rows(make_privacy(), make_pseudonyms(make_privacy()), "cfg").footer()


class Wrinkles(ScoreOperator):
    """Another operator that tells age; `untold` says that `sensitive_columns` forgets it."""

    name, Config, untold = "wrinkles", OperatorConfig, False
    column = Column("wrinkled", "bool", "Whether the face has wrinkles", sensitive="age")

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.column,)

    @classmethod
    def sensitive_columns(cls, section: Any) -> tuple[Column, ...]:
        return () if cls.untold else (cls.column,)


def wrong_with(monkeypatch: pytest.MonkeyPatch, folder: Path, attributes: list[str], kind: str) -> list[str]:
    """What the check says of a pipeline that has Wrinkles beside `attributes`."""

    def found(name: str) -> type[Operator]:
        return Wrinkles if name == "wrinkles" else find_operator(name)

    tree = {
        "source": {"files": {"paths": ["x.mp4"]}},
        "pipeline": ["faces", "windows", "attributes", "redact"],
        "attributes": {"sensitive": attributes},
        "privacy": {"purpose": "test", "deployment_context": "research", "sensitive": {"kind": kind, "purpose": WHY}},
        "sink": {"path": str(folder / "out")},
    }
    config = load_config(tree)
    config.pipeline.insert(3, "wrinkles")
    config._operators["wrinkles"] = OperatorConfig()
    monkeypatch.setattr("streamfx.runtime.preflight.find_operator", found)
    return check(config).of("wrong")


def test_the_check_of_a_configuration_sees_the_columns_of_all_operators_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert wrong_with(monkeypatch, tmp_path, ["Young", "Bald"], "age") == []
    [kinds] = wrong_with(monkeypatch, tmp_path, ["Male"], "sex")
    assert "wrinkled: privacy.sensitive.kind is 'sex', and sensitive columns of another kind never leave" in kinds
    [many] = wrong_with(monkeypatch, tmp_path, ["Young", "Bald", "Gray_Hair"], "age")
    assert "at most 3 sensitive columns may leave together, got 4" in many


def test_an_operator_whose_sensitive_columns_the_check_would_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = Wrinkles(OperatorConfig(), make_context())
    assert columns_of(operator) == (Wrinkles.column,)
    monkeypatch.setattr(Wrinkles, "untold", True)
    with pytest.raises(
        PrivacyRefusal, match=r"operator wrinkles: wrinkled: sensitive, and not among sensitive_columns"
    ):
        columns_of(operator)


@pytest.mark.parametrize(
    "wrong", [{"kind": "age", "purpose": "because"}, {"kind": "all", "purpose": WHY}, {"kind": "age"}]
)
def test_a_purpose_is_a_sentence_and_a_kind_is_one(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SensitiveColumns.model_validate(wrong)
