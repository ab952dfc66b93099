"""Builders: equal arguments give equal things, and what they give is what the line itself would accept."""

from __future__ import annotations

import numpy as np
import pytest

from streamfx.config.source import ClaimCheck
from streamfx.errors import BadChunk, ModelError
from streamfx.models.expression import ExpressionModel
from streamfx.source.chunk import parse_record
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.testing import (
    START_US,
    FakeModel,
    make_chunk,
    make_context,
    make_frame,
    make_record,
    make_segment,
    make_tracked,
    make_window,
    window_tensors,
)


def test_a_window_follows_from_its_seed() -> None:
    one, same, other = make_window(1), make_window(1), make_window(2)
    assert np.array_equal(one.frames, same.frames) and np.array_equal(one.fbank, same.fbank)
    assert not np.array_equal(one.frames, other.frames) and not np.array_equal(one.fbank, other.fbank)
    assert (one.start_us, one.end_us - one.start_us) == (START_US, 2_000_000)
    assert make_window(start_us=7, closed_by=3).end_us == 2_000_007


def test_its_tensors_are_what_the_contract_wants() -> None:
    ExpressionModel.spec.check_inputs(window_tensors(1, side=64))
    assert np.array_equal(window_tensors(1)["frames"][3, 2], make_window(1).frames[3, :, :, 2])


def test_a_record_becomes_the_chunk_of_its_offset() -> None:
    claims = ClaimCheckReader(ClaimCheck())
    assert parse_record(make_record(5), claims) == make_chunk(5)
    assert parse_record(make_record(5, stream_id="door", seq=2, end=True), claims).end
    with pytest.raises(BadChunk):
        parse_record(make_record(5, headers=()), claims)


def test_frames_follow_each_other_on_the_sampling_grid() -> None:
    segment = make_segment([make_frame(n) for n in range(8)])
    assert (segment.start_us, segment.end_us) == (START_US, START_US + 1_000_000)
    assert make_tracked(segment.frames[1], None).regions is None and make_tracked().regions == []


def test_a_context_lends_the_models_that_were_named_and_no_other() -> None:
    model = FakeModel()
    assert make_context({"a": model}).open_model(ExpressionModel, "a") is model
    with pytest.raises(ModelError, match="no model 'b'; it has: a"):
        make_context({"a": model}).open_model(ExpressionModel, "b")
