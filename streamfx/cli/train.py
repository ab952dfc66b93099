"""Commands that train: the two encoders, the expression model on them, and the models of attributes; and one that makes
questions about faces."""

from __future__ import annotations

from pathlib import Path

import click

from streamfx.cli.ablation import ablation_command
from streamfx.cli.action_units import action_units_command, expression_stills_command, identity_sweep_command
from streamfx.cli.face_qa import face_qa_command
from streamfx.cli.values import set_option

RECIPE = click.argument("config", type=click.Path(path_type=Path))
SET = set_option("the recipe")


@click.group()
def train() -> None:
    """Train models by recipes; a command that was killed continues where it stopped when it is given again."""


@train.command("pretrain-face")
@RECIPE
@SET
def pretrain_face_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a face encoder by the recipe CONFIG, a YAML file."""
    from streamfx.train.pretrain import pretrain_face
    from streamfx.train.recipe import FaceRecipe, load_recipe

    click.echo(f"face encoder: {pretrain_face(load_recipe(FaceRecipe, config, overrides))}")


@train.command("pretrain-audio")
@RECIPE
@SET
def pretrain_audio_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train an audio encoder by the recipe CONFIG, a YAML file."""
    from streamfx.train.pretrain import pretrain_audio
    from streamfx.train.recipe import AudioRecipe, load_recipe

    click.echo(f"audio encoder: {pretrain_audio(load_recipe(AudioRecipe, config, overrides))}")


@train.command("expression")
@RECIPE
@SET
def expression_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train an expression model by the recipe CONFIG, a YAML file, on encoders that are there already."""
    from streamfx.train.expression import train_expression
    from streamfx.train.recipe import ExpressionRecipe, load_recipe

    click.echo(f"model: {train_expression(load_recipe(ExpressionRecipe, config, overrides))}")


@train.command("attributes")
@RECIPE
@SET
def attributes_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a model of facial attributes by the recipe CONFIG, a YAML file."""
    from streamfx.train.attribute_recipe import AttributesRecipe
    from streamfx.train.attributes import train_attributes
    from streamfx.train.recipe import load_recipe

    click.echo(f"model: {train_attributes(load_recipe(AttributesRecipe, config, overrides))}")


@train.command("face-mllm")
@RECIPE
@SET
def face_mllm_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a Face-MLLM by the recipe CONFIG, a YAML file, on questions of `streamfx train face-qa`."""
    from streamfx.train.face_mllm.recipe import FaceMllmRecipe
    from streamfx.train.face_mllm.run import train_face_mllm
    from streamfx.train.recipe import load_recipe

    click.echo(f"model: {train_face_mllm(load_recipe(FaceMllmRecipe, config, overrides))}")


@train.command("face-tokens")
@RECIPE
@SET
def face_tokens_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a tokenizer of faces for a UniF2ace by the recipe CONFIG, a YAML file."""
    from streamfx.train.recipe import load_recipe
    from streamfx.train.unif2ace.recipe import FaceTokensRecipe
    from streamfx.train.unif2ace.tokens import train_face_tokens

    click.echo(f"tokenizer: {train_face_tokens(load_recipe(FaceTokensRecipe, config, overrides))}")


@train.command("unif2ace")
@RECIPE
@SET
def unif2ace_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train a UniF2ace, which reads and draws faces, by the recipe CONFIG, a YAML file, on a tokenizer's codes."""
    from streamfx.train.recipe import load_recipe
    from streamfx.train.unif2ace.recipe import UniF2aceRecipe
    from streamfx.train.unif2ace.run import train_unif2ace

    click.echo(f"model: {train_unif2ace(load_recipe(UniF2aceRecipe, config, overrides))}")


train.add_command(ablation_command)
train.add_command(action_units_command)
train.add_command(identity_sweep_command)
train.add_command(expression_stills_command)
train.add_command(face_qa_command)
