"""How a face changes over time: the course of an expression, blinks, glances, head motion. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from streamfx.synth.actions import AUS

Floats = npt.NDArray[np.float32]
_MOUTH = tuple(AUS.index(unit) for unit in ("au_23", "au_24", "au_25", "au_26", "au_27"))


@dataclass(frozen=True)
class Course:
    """A face over the times of a clip: `actions` [T, len(AUS)] in 0..5, `envelope` [T] in 0..1 (the expression's
    onset, apex and offset), `blink` [T] in 0..1, `pose_deg` [T, 3] (yaw, pitch, roll), `shift` [T, 2] in decimetres,
    `gaze` [T, 2] in eye radii, `apex_s` the middle of the apex."""

    actions: Floats
    envelope: Floats
    blink: Floats
    pose_deg: Floats
    shift: Floats
    gaze: Floats
    apex_s: float


def expression_course(
    times_s: Floats,
    full: dict[str, float],
    intensity: float,
    expressivity: dict[str, float],
    pose_deg: tuple[float, float, float],
    rng: np.random.Generator,
) -> Course:
    """A random course toward `full` (action units at 0..5) times `intensity`; `pose_deg` is the head's mean pose."""
    length = float(times_s[-1]) + (float(times_s[1]) if len(times_s) > 1 else 1.0)
    apex, envelope = _envelope(times_s, length, rng)
    actions = np.zeros((len(times_s), len(AUS)), np.float32)
    for unit, amount in full.items():
        lag = rng.normal(0, 0.05)
        actions[:, AUS.index(unit)] = np.interp(times_s - lag, times_s, envelope) * amount * expressivity[unit]
    actions *= intensity
    actions += _resting(rng)
    blink = _blinks(times_s, length, rng)
    # A blink closes the lids of a wide-eyed face too: raised upper lids (AU 5) yield to it.
    actions[:, AUS.index("au_05")] *= 1 - blink
    actions[:, AUS.index("au_45")] = 5 * blink
    pose = np.array(pose_deg, np.float32) + _drift(times_s, rng, rng.uniform(0.5, 5), 0.5, 3)
    shift = _drift(times_s, rng, rng.uniform(0.01, 0.06), 0.6, 2)
    return Course(np.clip(actions, 0, 5), envelope, blink, pose, shift, _glances(times_s, rng), apex)


def quiet_mouth(actions: Floats) -> Floats:
    """How freely the mouth can speak while it shows an expression, [T] in 0..1."""
    free: Floats = np.clip(1 - 0.12 * actions[:, _MOUTH].sum(1), 0.25, 1).astype(np.float32)
    return free


def _envelope(times_s: Floats, length: float, rng: np.random.Generator) -> tuple[float, Floats]:
    """Onset, apex, offset as smooth steps. The apex always lies inside the clip; onset and offset may lie outside."""
    onset, hold, offset = rng.uniform(0.15, 0.6), rng.uniform(0.4, 1.6), rng.uniform(0.25, 0.9)
    middle = float(rng.uniform(0.3, 0.7)) * length
    rise = _smooth((times_s - (middle - hold / 2 - onset)) / onset)
    fall = _smooth((middle + hold / 2 + offset - times_s) / offset)
    return middle, (rise * fall).astype(np.float32)


def _smooth(value: Floats) -> Floats:
    held = np.clip(value, 0, 1)
    return (held * held * (3 - 2 * held)).astype(np.float32)


def _resting(rng: np.random.Generator) -> Floats:
    """Slight action units that a face at rest shows throughout the clip."""
    out = np.where(rng.random(len(AUS)) < 0.25, rng.uniform(0, 0.5, len(AUS)), 0).astype(np.float32)
    out[AUS.index("au_27")] = out[AUS.index("au_45")] = 0
    return out


def _blinks(times_s: Floats, length: float, rng: np.random.Generator) -> Floats:
    out = np.zeros(len(times_s), np.float32)
    at = float(rng.exponential(2.5))
    while at < length:
        half = rng.uniform(0.09, 0.16)
        out = np.maximum(out, np.clip(1.25 - np.abs(times_s - at) / half, 0, 1))
        at += 0.4 + float(rng.exponential(2.8))
    return out


def _drift(times_s: Floats, rng: np.random.Generator, amount: float, smooth_s: float, axes: int) -> Floats:
    """Smooth random motion [T, axes] of about `amount`, the same course at any frame rate."""
    step = 0.04
    ticks = np.arange(-2, np.ceil(times_s[-1]) + 2 + step, step)
    walk = gaussian_filter1d(rng.standard_normal((len(ticks), axes)), smooth_s / step, axis=0)
    walk *= amount / max(float(walk.std()), 1e-9)
    return np.stack([np.interp(times_s, ticks, walk[:, axis]) for axis in range(axes)], 1).astype(np.float32)


def _glances(times_s: Floats, rng: np.random.Generator) -> Floats:
    """Gaze over time: it is held, then jumps."""
    out = np.zeros((len(times_s), 2), np.float32)
    at, target = 0.0, rng.normal(0, [0.1, 0.06])
    while at <= times_s[-1]:
        out[times_s >= at] = np.clip(target, -0.3, 0.3)
        at += 0.3 + float(rng.exponential(1.2))
        target = rng.normal(0, [0.15, 0.08])
    return out
