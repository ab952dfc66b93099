"""`streamfx train ablation`: which part of the expression model helps, by the same recipe without it."""

from __future__ import annotations

from pathlib import Path

import click

from streamfx.cli.values import set_option


@click.command("ablation")
@click.argument("config", type=click.Path(path_type=Path))
@set_option("the recipe")
@click.option(
    "--seeds",
    type=click.IntRange(3),
    default=3,
    show_default=True,
    help="Seeds for each row of the table: run.seed and those after it.",
)
def ablation_command(config: Path, overrides: tuple[str, ...], seeds: int) -> None:
    """Train the expression model of the recipe CONFIG in full and without each part, and compare.

    Six nets for each seed: full, without prompts, without bottleneck, without temporal transformer, video only, sound
    only. The runs, ablation.json and ablation.md go to run.out/ablation. Given again, the command continues where it
    stopped.
    """
    from streamfx.train.ablation import run_ablation
    from streamfx.train.recipe import ExpressionRecipe, load_recipe

    recipe = load_recipe(ExpressionRecipe, config, overrides)
    folder = run_ablation(recipe, range(recipe.run.seed, recipe.run.seed + seeds), click.echo)
    click.echo((folder / "ablation.md").read_text(encoding="utf-8"))
    click.echo(f"{folder}: ablation.json, ablation.md")
