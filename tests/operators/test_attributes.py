"""The operator `attributes`: from a window to a row, by both methods, with untrained weights."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from streamfx_operators.attributes import Attributes, AttributesConfig

from streamfx.config.serving import Serving
from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.models.attributes import LOOKS, METHODS, AttributesModel
from streamfx.models.card import resolve_model
from streamfx.models.celeba import CELEBA, SENSITIVE, column_name
from streamfx.models.frames import sized_frames
from streamfx.pipeline import find_operator, load_config
from streamfx.runtime.preflight import check
from streamfx.serving.client import open_model
from streamfx.testing import make_context, make_window, run_scores

AGES = {"kind": "age", "purpose": "whether the adverts reach all ages, yearly audit 2026"}


def operator(**section: Any) -> Attributes:
    context = replace(make_context(), open_model=partial(open_model, serving=Serving()))
    return Attributes(AttributesConfig(**section), context)


@pytest.mark.parametrize("method", METHODS)
def test_a_window_becomes_a_row(method: str) -> None:
    made = operator(method=method)
    rows = run_scores(made, [make_window(seed, side=112) for seed in range(3)])
    made.close()
    known = {column_name(name) for name in made.info.labels if name not in SENSITIVE}
    assert len(known) >= 5
    for row in rows:
        assert {name for name, value in row.items() if value is not None} == known
        assert all(0 <= row[name] <= 1 for name in known)
    assert rows[0] != rows[1]


def test_it_is_found_by_its_name_and_says_which_weights_answer() -> None:
    assert find_operator("attributes") is Attributes
    made = operator()
    assert made.provenance()["model"] == "attributes-shared" and made.provenance()["model_version"]
    assert made.sound is None


def test_all_plain_attributes_are_columns_in_celeba_s_order_and_no_sensitive_one() -> None:
    names = [column.name for column in operator().columns]
    assert names == [column_name(name) for name in CELEBA if name not in SENSITIVE]
    assert "attr_male" not in names and "attr_smiling" in names


def test_the_value_is_the_mean_over_four_frames_of_what_the_served_model_says() -> None:
    made, window = operator(), make_window(4, side=112)
    values = made.submit(window).result(60)
    model = AttributesModel.load(resolve_model("attributes-shared"))
    frames = torch.from_numpy(sized_frames(window, 112).copy())
    each = model.net(frames[list(LOOKS)].float() / 255).mean(dim=0)
    smiling = each[made.info.labels.index("Smiling")]
    assert values["attr_smiling"] == pytest.approx(float(torch.sigmoid(smiling)), abs=1e-5)


def test_a_sensitive_attribute_is_yes_or_no() -> None:
    made = operator(sensitive=["Young"])
    young = next(column for column in made.columns if column.name == "attr_young")
    assert (young.kind, young.sensitive) == ("bool", "age")
    values = made.submit(make_window(0, side=112)).result(60)
    assert isinstance(values["attr_young"], bool) and "attr_bald" not in values


def test_sensitive_columns_make_no_row_without_a_purpose() -> None:
    with pytest.raises(PrivacyRefusal, match=r"attr_young: sensitive \(age\); expected privacy.sensitive"):
        run_scores(operator(sensitive=["Young"]), [make_window(0, side=112)])


def test_weights_of_the_other_method_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"attributes.method: expected weights of lnet_anet, got attributes-shared"):
        operator(method="lnet_anet", model="attributes-shared")


def test_a_sensitive_attribute_that_the_model_cannot_answer_is_refused_and_not_an_empty_column(tmp_path: Any) -> None:
    says = r"attributes.sensitive: attributes-shared does not answer Attractive, .* of the sensitive ones: .*Young"
    with pytest.raises(ConfigError, match=says):
        operator(sensitive=["Attractive"])
    beauty = {"kind": "beauty", "purpose": "whether drawings of a film look alike, study of 2026"}
    [finding] = _findings(tmp_path, ["Attractive"], sensitive=beauty)
    assert re.search(says.replace("shared", "lnet"), finding)


@pytest.mark.parametrize("names", [["Smiling"], ["Young", "Young"], ["Pretty"]])
def test_only_names_of_sensitive_attributes_may_be_asked_for(names: list[str]) -> None:
    with pytest.raises(ValidationError, match="sensitive: expected different names"):
        AttributesConfig.model_validate({"sensitive": names})


def _findings(tmp_path: Any, names: list[str], model: str = "attributes-lnet", **privacy: Any) -> list[str]:
    config = load_config(
        {
            "source": {"files": {"paths": ["x.mp4"]}},
            "pipeline": ["faces", "windows", "attributes", "redact"],
            "attributes": {"method": "lnet_anet", "model": model, "sensitive": names},
            "privacy": {"purpose": "test", "deployment_context": "retail"} | privacy,
            "sink": {"path": str(tmp_path / "out")},
        }
    )
    return [str(one) for one in check(config).findings if one.kind == "wrong"]


def test_the_check_of_a_configuration_names_what_may_not_leave(tmp_path: Any) -> None:
    assert _findings(tmp_path, []) == []
    assert "expected privacy.sensitive" in _findings(tmp_path, ["Young"])[0]
    assert _findings(tmp_path, ["Young", "Gray_Hair"], sensitive=AGES) == []
    assert "another kind never leave beside it" in _findings(tmp_path, ["Young", "Male"], sensitive=AGES)[0]
    [other] = _findings(tmp_path, [], model="attributes-shared")
    assert "expected weights of lnet_anet, got attributes-shared" in other
    assert "at most 3" in _findings(tmp_path, ["Young", "Bald", "Gray_Hair", "Bags_Under_Eyes"], sensitive=AGES)[0]


def test_frames_of_another_size_are_resized_once_for_all_models() -> None:
    window = make_window(0, side=64)
    run_scores(operator(), [window])
    assert list(window.sized) == [112] and window.sized[112].dtype == np.uint8
