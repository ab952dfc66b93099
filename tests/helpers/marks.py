"""A marked face, a marked voice and a marked name, and a search for any trace of them in files."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import av
import numpy as np
import pytest
from helpers import runs

from streamfx.media.cut import CutChunk
from streamfx.models.contract import Answer, Tensors
from streamfx.pipeline import load_config
from streamfx.runtime.supervisor import run_pipeline
from streamfx.runtime.worker import RunRange
from streamfx.serving.in_process import InProcess

NAME = b"kowalska"
"""Part of each stream id and of the media's own metadata."""
LENGTH, DISTINCT = 64, 12
"""Bytes of one piece of a face or a voice, and how many different ones it has, so that none is there by chance."""

Pieces = dict[str, bytes]


def named(chunk: CutChunk) -> bytes:
    """The chunk's media with the name in a box that players skip."""
    box = b"free" + b"a film of Wanda Kowalska"
    return chunk.body + (len(box) + 4).to_bytes(4, "big") + box


def pieces_of(clip: Path, chunks: Sequence[CutChunk], folder: Path) -> Pieces:
    """What must not be left of the chunks, by what it is: pieces of the media, of decoded pictures and sound, and of all
    that the model is asked about."""
    found: Pieces = {"name": NAME}
    for number, chunk in enumerate(chunks):
        found |= _cut(f"media {number}", chunk.body)
        found |= _decoded(number, chunk.body)
    for number, inputs in enumerate(_asked(clip, folder)):
        for name, value in inputs.items():
            found |= _cut(f"input {name} {number}", np.ascontiguousarray(value).tobytes())
    return found


def traces(pieces: Mapping[str, bytes], paths: Iterable[Path]) -> list[str]:
    """Which piece is in which of these files, or files of these folders; case does not count for the name."""
    found = []
    for path in paths:
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            try:
                content = file.read_bytes()
            except FileNotFoundError:  # it is another process's, which has just removed it
                continue
            lower = content.lower()
            found += [
                f"{what} in {file}" for what, piece in pieces.items() if piece in (lower if what == "name" else content)
            ]
    return found


def texts(dataset: Path, folder: Path) -> Path:
    """All rows of a dataset as plain text in the folder: files of a column store are compressed."""
    folder.mkdir()
    for table in sorted(p.name for p in dataset.iterdir() if p.is_dir() and not p.name.startswith("_")):
        (folder / f"{table}.txt").write_text("\n".join(map(str, runs.rows(dataset, table))))
    return folder


def _cut(what: str, content: bytes) -> Pieces:
    """Two pieces out of the middle that look like nothing else."""
    pieces: Pieces = {}
    for start in range(len(content) // 3, len(content) - LENGTH, max(LENGTH, len(content) // 50)):
        piece = content[start : start + LENGTH]
        if len(set(piece)) >= DISTINCT and len(pieces) < 2:
            pieces[f"{what} at {start}"] = piece
    return pieces


def _decoded(number: int, body: bytes) -> Pieces:
    pieces: Pieces = {}
    with av.open(io.BytesIO(body)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 8 == 0:
                for layout in ("rgb24", "bgr24", "gray"):
                    pixels = frame.to_ndarray(format=layout)
                    pieces |= _cut(f"picture {number} {index} {layout}", pixels.tobytes())
    with av.open(io.BytesIO(body)) as container:
        sound = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    wide = sound.astype(np.float32) / 32768 if sound.dtype == np.int16 else sound.astype(np.float32)
    return pieces | _cut(f"sound {number}", sound.tobytes()) | _cut(f"sound {number} as float", wide.tobytes())


def _asked(clip: Path, folder: Path) -> list[Tensors]:
    """The inputs of the model in an undisturbed run over the clip, in chunks of a second."""
    asked: list[Tensors] = []
    send = InProcess.send

    def note(self: InProcess, inputs: Tensors) -> Future[Answer]:
        asked.append({name: value.copy() for name, value in inputs.items()})
        return send(self, inputs)

    folder.mkdir()
    tree: dict[str, Any] = runs.tree(folder, [clip])
    tree["source"]["files"]["chunk_s"] = 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InProcess, "send", note)
        run_pipeline(load_config(tree), RunRange(), None, Event(), lambda _: None)
    shutil.rmtree(folder)
    assert asked
    return asked
