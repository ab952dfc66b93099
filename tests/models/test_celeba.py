"""The forty attributes: their order, against the paper's own table, and which of them are sensitive."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from streamfx.columns import Column, allowed_columns
from streamfx.models.celeba import CELEBA, SENSITIVE, column_name

PAPER = list(csv.DictReader((Path(__file__).parent / "celeba_paper.csv").open()))
"""Accuracies of LNets+ANet in arXiv 1411.7766 v3, per cent."""


def test_the_order_is_that_of_the_paper_s_table_whose_means_are_its_own() -> None:
    assert tuple(row["attribute"] for row in PAPER) == CELEBA
    means = [sum(float(row[name]) for row in PAPER) / len(PAPER) for name in ("celeba", "lfwa")]
    assert means == pytest.approx([87.30, 83.85], abs=0.005)


def test_what_tells_or_judges_is_sensitive() -> None:
    assert set(SENSITIVE) < set(CELEBA)
    kinds = {"Male": "sex", "Young": "age", "Pale_Skin": "skin", "Big_Nose": "origin", "Attractive": "beauty"}
    assert {name: SENSITIVE[name] for name in kinds} == kinds
    plain = {"Smiling", "Eyeglasses", "Wearing_Hat", "Mouth_Slightly_Open", "Bangs", "Blurry"}
    assert not plain & set(SENSITIVE)
    beards = {"5_o_Clock_Shadow", "Goatee", "Mustache", "No_Beard", "Sideburns"}
    worn = {"Heavy_Makeup", "Wearing_Lipstick", "Wearing_Earrings", "Wearing_Necklace", "Wearing_Necktie"}
    assert {SENSITIVE[name] for name in beards | worn} == {"sex"}


def test_every_attribute_may_be_a_column() -> None:
    columns = [Column(column_name(name), "float", name) for name in CELEBA]
    assert len(allowed_columns(columns)) == 40
