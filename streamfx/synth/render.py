"""Draws heads with OpenGL (moderngl on EGL; Mesa's software renderer will do): RGBA pictures of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import MissingComponent, SynthError
from streamfx.synth.head import PARTS, Head
from streamfx.synth.looks import Look
from streamfx.synth.patches import PAINT_LEFT, PAINT_LOW, PAINT_SIDE
from streamfx.synth.props import Skull, Worn, worn_by
from streamfx.synth.shaders import FRAGMENT, HAIR, MOIST, SKIN, VERTEX, WORN_FRAGMENT, WORN_VERTEX
from streamfx.synth.traits import FRINGES, HATS, NECKLINES, PATTERNS_OF_CLOTH
from streamfx.synth.wrinkles import LEVELS, Relief

Floats = npt.NDArray[np.float32]

_SURFACES = (("skin",), ("eyes", "teeth", "tongue", "lashes"))
"""Parts that share a program. A third one draws the hair on the scalp, and long hair."""
_LOWEST_HAIR = {"bob": 6.3, "long": 0.0}
"""Rest height at which each style of hair that hangs down ends, decimetres."""
_MOST_WORN = 3000
"""Triangles of worn things that the renderer has room for."""
SAMPLES = 4
"""Samples a pixel for smooth edges."""


@dataclass(frozen=True)
class Light:
    """Where the light comes from (unit vectors toward it, camera axes) and its linear colours."""

    key_from: tuple[float, float, float]
    key: tuple[float, float, float]
    fill_from: tuple[float, float, float]
    fill: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    wrap: float = 0.3
    """How far soft light reaches around things: 0 for a spotlight, about 0.6 for a large window."""


@dataclass(frozen=True)
class Drawn:
    """One head at one moment, in camera space (decimetres; x right, y up, the camera looks along -z from 0)."""

    vertices: Floats
    normals: Floats
    look: Look
    crease: tuple[float, ...]
    """How strongly action units draw each of `wrinkles.PATTERNS`, 0..1."""
    gaze: tuple[float, float]
    mouth_open: float
    pupil: float = 0.17


class Renderer:
    """An OpenGL context that draws heads into square RGBA pictures. One thread, one process."""

    def __init__(self, head: Head, size: int):
        self._head = head
        self._size = size
        self._context = context = _context()
        # The software renderer runs every branch for every pixel, so each kind of surface has a program of its own.
        self._programs = [
            context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT.replace("%d", str(material)))
            for material in (SKIN, MOIST, HAIR)
        ]
        worn = context.program(vertex_shader=WORN_VERTEX, fragment_shader=WORN_FRAGMENT)
        self._worn_buffer = context.buffer(reserve=_MOST_WORN * 3 * 36)
        self._worn = context.vertex_array(worn, [(self._worn_buffer, "3f 3f 3f", "position", "normal", "tint")])
        self._programs.append(worn)
        self._skull = Skull(head)
        self._scalp = _scalp(head)
        count = len(head.rest)
        still = np.concatenate([head.rest, _kinds(head)], 1).astype(np.float32)
        shell = still[self._scalp.vertices].copy()
        shell[:, 3] = 6
        self._still = context.buffer(np.concatenate([still, shell]).tobytes())
        self._moving = context.buffer(reserve=(count + len(shell)) * 24)
        surfaces = [np.concatenate([head.triangles[part] for part in parts]) for parts in _SURFACES]
        surfaces += [self._scalp.triangles + count, head.triangles["hair"]]
        self._vertex_arrays = [
            context.vertex_array(
                program,
                [(self._moving, "3f 3f", "position", "normal"), (self._still, "3f 4f", "rest", "kind")],
                context.buffer(triangles.astype(np.int32).tobytes()),
                skip_errors=True,
            )
            for program, triangles in zip([*self._programs[:3], self._programs[HAIR]], surfaces, strict=True)
        ]
        self._drawing = context.framebuffer(
            [context.renderbuffer((size, size), 4, samples=SAMPLES)], context.depth_renderbuffer((size, size), SAMPLES)
        )
        self._resolved = context.framebuffer([context.renderbuffer((size, size), 4)])
        self._grain = context.texture((256, 256), 1, _grain().tobytes())
        self._reliefs = {side: context.texture((side, side), 4) for side in LEVELS}
        self._dressed: dict[int, _Dressed] = {}

    def draw(self, heads: list[Drawn], light: Light, focal: float) -> npt.NDArray[np.uint8]:
        """uint8 RGBA [size, size, 4], colours premultiplied by alpha; alpha 0 is background.

        `focal` is the focal length in halves of the picture's side.
        """
        context = self._context
        self._drawing.use()
        context.enable(context.DEPTH_TEST)
        context.clear(0, 0, 0, 0)
        near, far = 1.0, 60.0
        lens = np.zeros((4, 4), np.float32)
        lens[0, 0] = lens[1, 1] = focal
        lens[2, 2], lens[2, 3], lens[3, 2] = -(far + near) / (far - near), -2 * far * near / (far - near), -1
        names = ("key_from", "key", "fill_from", "fill", "sky", "ground", "wrap")
        values = {name: getattr(light, name) for name in names}
        self._set({"projection": tuple(float(value) for value in lens.T.ravel()), **values})
        for one in heads:
            self._draw_one(one, focal)
        context.copy_framebuffer(self._resolved, self._drawing)
        raw = np.frombuffer(self._resolved.read(components=4, alignment=1), np.uint8)
        return raw.reshape(self._size, self._size, 4)[::-1]

    def _draw_one(self, one: Drawn, focal: float) -> None:
        look, head, context = one.look, self._head, self._context
        moving = np.concatenate([one.vertices, one.normals], 1)
        self._moving.write(np.concatenate([moving, moving[self._scalp.vertices]]).astype(np.float32).tobytes())
        dressed, pose = self._dress(look), self._skull.pose(one.vertices)
        pixels_per_dm = focal * self._size / 2 / max(1.0, -float(pose.origin[2]))
        mixed = dressed.relief.mixed(look.weights(one.crease), pixels_per_dm)
        relief = self._reliefs[len(mixed)]
        relief.write(mixed.tobytes())
        for place, (texture, name) in enumerate([(dressed.paint, "paint"), (relief, "relief"), (self._grain, "grain")]):
            texture.use(place)
            self._set({name: place})
        eye = head.rest[head.left_eye]
        middle = (eye.min(0) + eye.max(0)) / 2
        values: dict[str, Any] = {
            "paint_place": (PAINT_LEFT, PAINT_LOW, PAINT_SIDE),
            "axis_x": tuple(float(value) for value in pose.turn[:, 0]),
            "axis_y": tuple(float(value) for value in pose.turn[:, 1]),
            "eyes": (*(float(value) for value in middle), float(np.ptp(eye[:, 1]) / 2)),
            "gaze": one.gaze,
            "mouth_open": one.mouth_open,
            "pupil": one.pupil,
        }
        self._set(values | _uniforms(look))
        skin, moist, scalp, long_hair = self._vertex_arrays
        # Hair first: what it hides need not be shaded. The skin is a closed surface, whose back need not be drawn.
        context.disable(context.CULL_FACE)
        if look.traits.hair_style in _LOWEST_HAIR:
            long_hair.render()
        if look.traits.hair_thickness or look.traits.hat != "none":
            scalp.render()
        moist.render()
        context.enable(context.CULL_FACE)
        skin.render()
        context.disable(context.CULL_FACE)
        self._draw_worn(pose.placed(dressed.worn.solid), -1.0)
        if len(dressed.worn.lenses):
            context.enable(context.BLEND)
            context.blend_func = context.ONE, context.ONE_MINUS_SRC_ALPHA
            self._draw_worn(pose.placed(dressed.worn.lenses), dressed.worn.dark)
            context.disable(context.BLEND)

    def _draw_worn(self, triangles: Floats, glass: float) -> None:
        if len(triangles):
            self._set({"glass": glass})
            self._worn_buffer.write(np.ascontiguousarray(triangles, np.float32).tobytes())
            self._worn.render(vertices=3 * len(triangles))

    def _set(self, values: dict[str, Any]) -> None:
        for program in self._programs:
            for name, value in values.items():
                # The compiler drops uniforms that nothing reads.
                if name in program:
                    program[name].value = value

    def _dress(self, look: Look) -> _Dressed:
        held = self._dressed.get(id(look))
        if held is None or held.look is not look:
            if len(self._dressed) > 4:
                for other in self._dressed.values():
                    other.paint.release()
                self._dressed.clear()
            side = look.paint.shape[0]
            paint = self._context.texture((side, side), 4, np.ascontiguousarray(look.paint).tobytes())
            paint.build_mipmaps()
            paint.filter = self._context.LINEAR_MIPMAP_NEAREST, self._context.LINEAR
            self._dressed[id(look)] = held = _Dressed(look, paint, look.relief(), worn_by(look))
        return held


@dataclass(frozen=True)
class _Dressed:
    """What is prepared once for a look."""

    look: Look
    paint: Any
    relief: Relief
    worn: Worn


def _uniforms(look: Look) -> dict[str, Any]:
    """The shaders' settings that follow from a look."""
    traits = look.traits
    style = traits.hair_style
    peak = {"peaked": 0.10, "round": -0.03}.get(traits.hairline, 0.0)
    receding = 0.15 if traits.hairline == "receding" else 0.0
    cover = {"bald": 0.0, "buzz": 0.72}.get(style, 0.9)
    lowest = _LOWEST_HAIR.get(style, 99.0)
    hat = HATS.index(traits.hat)
    front, back, thick = ((0.0, 0.0, 0.0), (7.80, 7.45, 0.10), (7.72, 7.05, 0.12), (7.80, 7.55, 0.10))[hat]
    return {
        "lip": look.lip,
        "iris": look.iris,
        "hair": look.hair,
        "cloth": look.cloth,
        "second": look.second,
        "hat": look.hat,
        "hair_line": (look.hairline, peak, receding, 7.60),
        "fringe": (float(FRINGES.index(traits.fringe)), traits.parting),
        "hair_kind": (traits.hair_thickness, 1.0 if style == "curly" else 0.0, cover, lowest),
        "hat_kind": (float(hat), front, back, thick),
        "surface": (0.06 + 0.34 * traits.shine, traits.teeth_white),
        "cloth_kind": (
            float(PATTERNS_OF_CLOTH.index(traits.clothes_pattern)), float(NECKLINES.index(traits.neckline))
        ),
        "gaps": traits.teeth_gaps,
        "lashes": traits.make_up_eyes,
    }  # fmt: skip


@dataclass(frozen=True)
class _Scalp:
    """The part of the skin that hair can grow on, drawn a second time as a shell."""

    vertices: npt.NDArray[np.int64]
    triangles: npt.NDArray[np.int32]


def _scalp(head: Head) -> _Scalp:
    skin = head.triangles["skin"]
    middle = head.rest[skin].mean(1)
    grown = skin[(middle[:, 1] > 6.4) & ~((middle[:, 2] > 0.95) & (middle[:, 1] < 7.5))]
    vertices, places = np.unique(grown, return_inverse=True)
    return _Scalp(vertices.astype(np.int64), places.reshape(-1, 3).astype(np.int32))


def _kinds(head: Head) -> Floats:
    """Material, lips, inside of the mouth and ear of every vertex [V, 4]."""
    out = np.zeros((len(head.rest), 4), np.float32)
    for number, part in enumerate(PARTS):
        out[np.unique(head.triangles[part]), 0] = number
    out[:, 1] = head.lips
    out[:, 2] = head.inside_mouth
    out[:, 3] = head.ears
    return out


def _grain() -> npt.NDArray[np.uint8]:
    """A tile of fine noise, the same on every machine."""
    from scipy.ndimage import gaussian_filter

    rough = np.random.default_rng(0).standard_normal((256, 256))
    field = sum(
        weight * gaussian_filter(rough, sigma, mode="wrap") * sigma
        for sigma, weight in ((0.8, 1.0), (2, 0.8), (6, 0.6))
    )
    field = (field - np.mean(field)) / np.std(field)
    grey: npt.NDArray[np.uint8] = np.clip(127 + 60 * field, 0, 255).astype(np.uint8)
    return grey


def _context() -> Any:
    try:
        import moderngl
    except ImportError as error:
        raise MissingComponent(
            "synthetic faces are drawn with moderngl, which is not installed: pip install 'streamfx[synth]'"
        ) from error
    settings: dict[str, Any] = {"backend": "egl"}
    try:
        return moderngl.create_context(require=330, standalone=True, **settings)
    # Without a driver or library moderngl raises whatever it met first.
    except Exception as error:
        raise SynthError(
            f"no OpenGL 3.3 through EGL ({error}); on Debian: apt install libegl1 libgl1-mesa-dri"
        ) from error
