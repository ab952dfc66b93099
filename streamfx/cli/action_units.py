"""Commands that train FMAE: a model for action units, the sweep of its identity adversary, expressions of stills."""

from __future__ import annotations

from pathlib import Path

import click

from streamfx.cli.values import set_option

RECIPE = click.argument("config", type=click.Path(path_type=Path))
SET = set_option("the recipe")


@click.command("action-units")
@RECIPE
@SET
def action_units_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train FMAE, or with `reversal` FMAE-IAT, by the recipe CONFIG, a YAML file.

    Writes a model directory, and action-units-report.json: F1, ICC(3,1) and how well people can be told apart by the
    feature, with intervals over people.
    """
    from streamfx.train.action_units import REPORT, train_action_units
    from streamfx.train.au_recipe import ActionUnitsRecipe
    from streamfx.train.recipe import load_recipe

    directory = train_action_units(load_recipe(ActionUnitsRecipe, config, overrides))
    click.echo(f"model: {directory}; measures: {directory.parent / REPORT}")


@click.command("identity-sweep")
@RECIPE
@SET
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="run.seed and those after it.")
def identity_sweep_command(config: Path, overrides: tuple[str, ...], seeds: int) -> None:
    """Train the recipe CONFIG with identity adversaries of five strengths, and compare.

    Training sees people in whom identity and action units go together, by a choice of clips. sweep.json, sweep.md and
    sweep.png go to run.out/identity-sweep. Given again, the command continues where it stopped.
    """
    from streamfx.train.au_recipe import ActionUnitsRecipe
    from streamfx.train.identity_sweep import run_sweep
    from streamfx.train.recipe import load_recipe

    recipe = load_recipe(ActionUnitsRecipe, config, overrides)
    folder = run_sweep(recipe, range(recipe.run.seed, recipe.run.seed + seeds), click.echo)
    click.echo((folder / "sweep.md").read_text(encoding="utf-8"))
    click.echo(f"{folder}: sweep.json, sweep.md, sweep.png")


@click.command("expression-stills")
@RECIPE
@SET
def expression_stills_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Train FMAE on the expressions of single pictures (RAF-DB, AffectNet) by the recipe CONFIG, a YAML file."""
    from streamfx.train.expression_stills import REPORT, StillsRecipe, train_stills
    from streamfx.train.recipe import load_recipe

    file = train_stills(load_recipe(StillsRecipe, config, overrides))
    click.echo(f"net: {file}; measures: {file.parent / REPORT}")
