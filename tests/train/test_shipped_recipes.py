"""The recipes in config/train: each can be read by the command that it belongs to, and stands in the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamfx.cli.train import train
from streamfx.config.section import Section
from streamfx.train.attribute_recipe import AttributesRecipe
from streamfx.train.au_recipe import ActionUnitsRecipe
from streamfx.train.expression_stills import StillsRecipe
from streamfx.train.face_mllm.recipe import FaceMllmRecipe
from streamfx.train.recipe import AudioRecipe, ExpressionRecipe, FaceRecipe, load_recipe
from streamfx.train.unif2ace.recipe import FaceTokensRecipe, UniF2aceRecipe

REPO = Path(__file__).parents[2]
RECIPES = sorted((REPO / "config" / "train").glob("*.yaml"))
KINDS: Mapping[str, type[Section]] = {
    "pretrain-face": FaceRecipe,
    "pretrain-audio": AudioRecipe,
    "expression": ExpressionRecipe,
    "attributes": AttributesRecipe,
    "action-units": ActionUnitsRecipe,
    "identity-sweep": ActionUnitsRecipe,
    "expression-stills": StillsRecipe,
    "face-mllm": FaceMllmRecipe,
    "face-tokens": FaceTokensRecipe,
    "unif2ace": UniF2aceRecipe,
}
"""What each command reads. `ablation` reads recipes of `expression`."""


def command_of(recipe: Path) -> str:
    """The command in the recipe's comment, which must be one that trains this very file."""
    found = re.findall(r"^#   streamfx train (\S+) (config/\S+)", recipe.read_text(), re.MULTILINE)
    assert [file for _, file in found] == [f"config/train/{recipe.name}"], "expected one command, of this file"
    return str(found[0][0])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_is_read_by_the_command_that_its_comment_names(recipe: Path) -> None:
    load_recipe(KINDS[command_of(recipe)], recipe)


def test_each_command_that_trains_has_a_recipe() -> None:
    assert {command_of(recipe) for recipe in RECIPES} == set(KINDS) == set(train.commands) - {"ablation", "face-qa"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_the_documentation_lists_a_recipe_with_its_command(recipe: Path) -> None:
    table = (
        (REPO / "docs" / "training.md").read_text().partition("| recipe | trains | command |")[2].partition("\n\n")[0]
    )
    rows = [line for line in table.splitlines() if recipe.name in line]
    assert len(rows) == 1 and (f"`streamfx train {command_of(recipe)}`" in rows[0] or rows[0].endswith("| the same |"))
