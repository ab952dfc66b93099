"""The pure functions of `benchmarks/unif2ace.py` and `benchmarks/unif2ace_ablation.py`; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.modules import module

from streamfx.nets.unif2ace import UniF2aceSizes
from streamfx.train.recipe import load_recipe
from streamfx.train.unif2ace.recipe import UniF2aceRecipe

REPO = Path(__file__).parents[3]


measure, ablation = module("unif2ace"), module("unif2ace_ablation")


def test_each_row_is_a_recipe_that_changes_only_its_switch() -> None:
    full = load_recipe(UniF2aceRecipe, REPO / "config" / "train" / "unif2ace.yaml", ablation.SIZE)
    assert full.both.epochs * (full.both.pictures // full.both.batch_size) == 3000
    folders = set()
    for row, changed in ablation.ROWS.items():
        one = ablation.recipe_of(full, row, 2, Path("out/x"))
        assert one.run.seed == 2
        folders.add(one.run.out)
        sizes = UniF2aceSizes(words=10, semantic=8, face=8, **one.net)
        assert (sizes.routed > 0) == ("routed" not in changed.get("net", {}))
        assert sizes.sequence == ("sequence" not in changed.get("net", {}))
        losses = {name: getattr(one.both, name) for name in ("mask_weight", "alpha_tokens")}
        assert losses == {"mask_weight": 1.0, "alpha_tokens": 2.56} | dict(changed.get("both", {}))
        same = {"net", "both", "run", "name"}
        assert one.model_dump(exclude=same) == full.model_dump(exclude=same)
    assert len(folders) == len(ablation.ROWS)


def outcomes(row: str, values: list[float | None]) -> list[object]:
    figures = [{**dict.fromkeys(ablation.FIGURES), "held_out_mask": value} for value in values]
    loads = {"block-1-tokens-0": [0.75, 0.25]} if row == ablation.FULL else {}
    return [ablation.Outcome(row, seed, 5, one, loads, "") for seed, one in enumerate(figures, 1)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0, 2.0, 3.0], "better with every seed: held_out_mask"),
        ([5.0, 6.0, 7.0], "worse with every seed: held_out_mask"),
        ([1.0, 6.0, 3.0], "nothing can be told of held_out_mask"),
        ([1.0, None, 3.0], "nothing can be told of held_out_mask"),
        ([1.0, 2.0], "nothing can be told of held_out_mask"),
    ],
)
def test_a_difference_is_told_where_three_seeds_or_more_agree(values: list[float | None], says: str) -> None:
    full, other = outcomes(ablation.FULL, [4.0, 4.5, 5.0]), outcomes("no experts", values)
    assert says in ablation.verdict(list(zip(full, other, strict=False)))
    table = ablation.tables([*full, *other])
    assert "4.500 ± 0.500" in table and "0.50 to 1.50" in table and "| no experts | no experts |" in table


def test_the_loads_of_each_router_are_printed() -> None:
    assert ablation.loads_of(outcomes(ablation.FULL, [1.0])[0]) == "  block-1-tokens-0: 1.50 0.50"


def test_figures_that_are_there_are_compared_with_what_is_wanted() -> None:
    told = {
        "tokenizer": {"glasses_kept": [0.8, 0.7, 0.9], "r_units": [None, None, None]},
        "drawing": {
            "drawn": {"found": [0.95, 0.9, 1.0], "asked": {"beard": {"faces": 3, "share": [0.5, float("nan"), None]}}}
        },
        "reading": {"less_than_probe": {"sex": 0.02, "expression": 0.2}},
    }
    rows = {row["figure"]: row for row in measure.wanted(told)}
    assert {name: row["reached"] for name, row in rows.items()} == {
        "glasses_kept": False, "found": True, "beard": False, "sex": True, "expression": False,
    }  # fmt: skip
    assert "| tokenizer | glasses_kept | 0.9 | 0.800 [0.700, 0.900] | missed |" in measure.table(list(rows.values()))
    # With few people there is no interval, whether it was just measured or is read again.
    assert "| drawing | beard | 0.8 | 0.500 | missed |" in measure.table(list(rows.values()))


def test_figures_of_another_model_are_not_mixed_in(tmp_path: Path) -> None:
    file, deciding = tmp_path / "a.json", {"version": "1"}
    assert measure.kept(file, deciding) == {"version": "1", "wanted": []}
    file.write_text(json.dumps({"version": "1", "drawing": {}}))
    assert "drawing" in measure.kept(file, deciding)
    with pytest.raises(SystemExit, match="expected figures of the same model"):
        measure.kept(file, {"version": "2"})
