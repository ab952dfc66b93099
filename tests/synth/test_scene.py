"""The surroundings of a face: light, background, occluders, and the camera."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from streamfx.synth.backdrop import BACKGROUNDS, draw_background
from streamfx.synth.scene import (
    LIGHTS,
    SOURCES,
    Camera,
    draw_camera,
    draw_light,
    draw_occluder,
    exposed,
    glow,
    put_occluder,
    see,
)

PLAIN = Camera(blur_px=0, noise=0, gain=1, tint=(1, 1, 1), gamma=1, crf=20, soften=1)


def brightness(kind: str) -> float:
    """Mean strength of the key light and the sky of a kind of light."""
    lights = [draw_light(kind, np.random.default_rng(seed)) for seed in range(40)]
    return float(np.mean([np.mean(light.key) + np.mean(light.sky) for light in lights]))


def picture(size: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_lights_are_as_bright_as_their_names() -> None:
    assert brightness("bright") > brightness("normal") > 2 * brightness("dim") > 0


@pytest.mark.parametrize("kind", LIGHTS)
def test_light_comes_from_a_direction_before_the_face(kind: str) -> None:
    for seed in range(40):
        light = draw_light(kind, np.random.default_rng(seed))
        assert np.linalg.norm(light.key_from) == pytest.approx(1) and np.linalg.norm(light.fill_from) == pytest.approx(
            1
        )
        assert min(*light.key, *light.fill, *light.sky, *light.ground) >= 0
        assert light.key_from[0] * light.fill_from[0] <= 0, "the fill comes from the other side"


def test_side_light_is_more_sideways_than_any_other() -> None:
    sideways = {
        kind: np.mean([abs(draw_light(kind, np.random.default_rng(seed)).key_from[0]) for seed in range(40)])
        for kind in LIGHTS
    }
    assert max(sideways, key=lambda kind: sideways[kind]) == "side" and sideways["side"] > 0.6


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_are_larger_than_the_picture_differ_and_follow_the_light(kind: str) -> None:
    rooms = [draw_background(kind, 64, 0.9, 1.5, np.random.default_rng(seed)) for seed in range(20)]
    dark = [draw_background(kind, 64, 0.1, 1.5, np.random.default_rng(seed)) for seed in range(20)]
    assert all(room.shape == (80, 80, 3) and room.dtype == np.uint8 for room in rooms)
    assert len({room.tobytes() for room in rooms}) == 20
    assert np.mean(rooms) > 1.3 * np.mean(dark)
    assert np.array_equal(rooms[3], draw_background(kind, 64, 0.9, 1.5, np.random.default_rng(3)))


def test_a_background_out_of_focus_has_no_edges() -> None:
    def steps(radius: float) -> float:
        pictures = [draw_background("room", 64, 0.9, radius, np.random.default_rng(seed)) for seed in range(10)]
        return float(np.mean([np.abs(np.diff(one.astype(float), axis=1)).max() for one in pictures]))

    assert steps(4.0) < 0.5 * steps(0.0)


def test_light_of_a_low_colour_temperature_is_warm() -> None:
    warm, cool = glow(3000), glow(9000)
    assert warm[0] > warm[1] > warm[2] and cool[0] < cool[1] < cool[2]
    assert warm.mean() == pytest.approx(1) == pytest.approx(cool.mean())


@pytest.mark.parametrize("source", SOURCES)
def test_light_of_every_source_is_white_enough_to_leave_skin_its_colour(source: str) -> None:
    keys = np.array([draw_light("normal", np.random.default_rng(seed), source).key for seed in range(40)])
    shares = keys / keys.mean(1, keepdims=True)
    assert np.abs(shares - 1).max() < 0.45 and np.abs(shares[:, 1] - 1).max() < 0.2


def test_a_camera_gives_dark_skin_more_light() -> None:
    light = draw_light("normal", np.random.default_rng(0))
    dark, pale = exposed(light, 0.03), exposed(light, 0.6)
    assert dark.key > light.key > pale.key and dark.key_from == light.key_from


def test_occluders_cover_their_part_of_the_face() -> None:
    """They cover the middle of the mouth or eyes, or the side on the viewer's right, and all of these occur."""
    places = {"mouth": (48, 58), "eyes": (48, 44), "side": (64, 48)}
    seen = set()
    for seed in range(30):
        occluder = draw_occluder(96, np.random.default_rng(seed))
        frame = Image.new("RGB", (96, 96), (1, 2, 3))
        put_occluder(frame, occluder, (28.0, 24.0, 68.0, 72.0), np.zeros(2, np.float32))
        changed = (np.asarray(frame) != (1, 2, 3)).any(2)
        x, y = places[occluder.covers]
        assert changed[y, x], (seed, occluder.covers)
        assert 0.01 < changed.mean() < 0.6
        seen.add(occluder.covers)
    assert seen == set(places)


def test_a_plain_camera_changes_nothing() -> None:
    assert np.abs(see(picture(), PLAIN, np.random.default_rng(0)).astype(int) - np.asarray(picture())).max() <= 1


def test_every_camera_setting_has_its_effect() -> None:
    plain = see(picture(), PLAIN, np.random.default_rng(0)).astype(float)

    def seen(**changes: object) -> np.ndarray:
        camera = Camera(**({**vars(PLAIN), **changes}))  # type: ignore[arg-type]
        return see(picture(), camera, np.random.default_rng(0)).astype(float)

    assert seen(gain=0.5).mean() == pytest.approx(plain.mean() / 2, rel=0.02)
    assert seen(gamma=1.25).mean() < plain.mean() < seen(gamma=0.8).mean()
    assert seen(blur_px=1.2).std() < 0.7 * plain.std() and seen(soften=0.4).std() < 0.7 * plain.std()
    noise = seen(noise=8.0) - plain
    assert 4 < noise.std() < 10
    corners = seen(vignette=0.4)[:4, :4].mean() / plain[:4, :4].mean()
    assert corners < 0.75 and seen(vignette=0.4)[30:34, 30:34].mean() == pytest.approx(
        plain[30:34, 30:34].mean(), rel=0.02
    )
    red, _, blue = seen(tint=(1.0, 1.0, 0.8)).mean((0, 1))
    assert red > 1.1 * blue


def test_cameras_range_from_clear_to_poor() -> None:
    cameras = [draw_camera(np.random.default_rng(seed)) for seed in range(60)]
    assert any(camera.crf < 22 for camera in cameras) and any(camera.crf >= 30 for camera in cameras)
    assert any(camera.soften < 1 for camera in cameras) and any(camera.noise > 6 for camera in cameras)
    assert all(0 <= camera.crf <= 51 for camera in cameras)
