"""Draws heads with OpenGL (moderngl on EGL; Mesa's software renderer will do): RGBA pictures of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamfx.errors import MissingComponent, SynthError
from streamfx.synth.head import PARTS, Head
from streamfx.synth.looks import PAINT_LEFT, PAINT_LOW, PAINT_SIDE, Look

Floats = npt.NDArray[np.float32]

_SURFACES = (("skin",), ("eyes", "teeth", "tongue", "lashes"), ("hair",))
"""Parts that share a program; the last one also draws the hair on the scalp."""
SAMPLES = 4
"""Samples a pixel for smooth edges."""

_VERTEX = """
#version 330
uniform mat4 projection;
uniform vec4 hair_shape;  // thickness, hairline, style, unused
in vec3 position; in vec3 normal; in vec3 rest; in vec4 kind;  // material, lips, inside of the mouth, ear
out vec3 at; out vec3 n; out vec3 r; out vec4 k;
void main() {
    vec3 p = position;
    if (kind.x > 5.5) p += normal * hair_shape.x;
    at = p; n = normal; r = rest; k = kind;
    gl_Position = projection * vec4(p, 1.0);
}
"""

_FRAGMENT = """
#version 330
#define MATERIAL %d
uniform sampler2D paint; uniform sampler2D furrows; uniform sampler2D grain;
uniform vec3 paint_place;   // left, low, side
uniform vec3 lip; uniform vec3 iris; uniform vec3 hair; uniform vec3 cloth;
uniform vec3 key_from; uniform vec3 key; uniform vec3 fill_from; uniform vec3 fill; uniform vec3 sky; uniform vec3 ground;
uniform vec4 crease; uniform vec4 hair_shape; uniform vec2 surface;  // shine, teeth
uniform vec3 eyes;      // x and y of the left eye's middle at rest, its radius
uniform vec2 gaze; uniform float mouth_open; uniform float pupil; uniform float glasses;
in vec3 at; in vec3 n; in vec3 r; in vec4 k;
out vec4 colour;

float hair_edge(vec3 p) {
    float front = smoothstep(-0.25, 1.05, p.z);
    float side = smoothstep(0.35, 0.75, abs(p.x)) * smoothstep(0.2, 0.7, p.z);
    float line = mix(6.5, hair_shape.y - 0.35 * side - 0.12 * p.x * p.x, front);
    float noise = texture(grain, p.xz * 0.9 + p.y * 0.3).r - 0.5;
    return p.y - line + 0.12 * noise;
}

void main() {
    vec3 normal = normalize(n);
    vec3 toward = normalize(-at);
#if MATERIAL == 2
    if (dot(normal, toward) < 0.0) normal = -normal;
#endif
    vec3 albedo; float gloss = surface.x; float power = 18.0; float soft = 0.35; float dark = 1.0;
#if MATERIAL == 0
    {
        vec2 place = (r.xy - paint_place.xy) / paint_place.z;
        albedo = pow(texture(paint, place).rgb, vec3(2.2));
        vec4 f = (texture(furrows, place) - 0.502) * 2.0 * crease;
        albedo *= clamp(1.0 + 1.1 * (f.x + f.y + f.z + f.w), 0.25, 1.3);
        albedo = mix(albedo, lip, 0.8 * smoothstep(0.25, 0.75, k.y));
        gloss += 0.25 * k.y;
        if (k.z > 0.5) { albedo = vec3(0.12, 0.02, 0.02); gloss = 0.0; dark = 0.5; }
        float collar = 5.55 + 0.35 * abs(r.x) - 0.25 * r.z;
        if (r.y < collar) { albedo = cloth * (0.8 + 0.4 * texture(grain, r.xy * 2.0).r); gloss = 0.02; }
        float scalp = hair_edge(r);
        if (hair_shape.z < 4.5 && hair_shape.x > 0.0 && k.w < 0.5 && scalp > 0.0)
            albedo = mix(albedo, hair, 0.85 * smoothstep(0.0, 0.06, scalp));
        if (glasses > 0.0 && r.z > 0.75) {
            vec2 lens = vec2(abs(r.x) - 0.32, r.y - 7.25);
            float rim = abs(length(lens * vec2(1.0, 1.25)) - 0.23);
            float bridge = max(abs(r.y - 7.32) - 0.0, abs(r.x) - 0.1);
            if (rim < 0.022 || (bridge < 0.018 && abs(r.x) < 0.11)) { albedo = vec3(1.0 - glasses) * 0.2; gloss = 0.3; }
        }
    }
#elif MATERIAL == 1
    if (k.x < 1.5) {
        vec2 d = vec2(abs(r.x) - eyes.x, r.y - eyes.y) / eyes.z;
        if (r.x < 0.0) d.x = -d.x;
        d -= gaze;
        float away = length(d);
        albedo = mix(vec3(0.72, 0.68, 0.66), vec3(0.6, 0.45, 0.42), smoothstep(0.5, 1.0, away));
        vec3 rays = iris * (0.7 + 0.6 * texture(grain, vec2(atan(d.y, d.x), away * 0.3)).r);
        albedo = mix(rays, albedo, smoothstep(0.40, 0.46, away));
        albedo *= 1.0 - 0.6 * smoothstep(0.34, 0.42, away) * (1.0 - smoothstep(0.42, 0.5, away));
        albedo = mix(vec3(0.004), albedo, smoothstep(pupil, pupil + 0.05, away));
        // The upper lid's shadow.
        dark = 1.0 - 0.45 * smoothstep(0.2, 0.9, d.y + gaze.y);
        gloss = 0.9; power = 90.0; soft = 0.5;
    } else if (k.x < 2.5) {
        albedo = vec3(0.96, 0.9, 0.8) * surface.y; gloss = 0.3; power = 40.0;
        dark = clamp(0.9 + 0.4 * mouth_open, 0.3, 1.0) * smoothstep(0.8, 1.25, r.z);
    } else if (k.x < 3.5) {
        albedo = vec3(0.45, 0.12, 0.12); gloss = 0.15; dark = clamp(0.25 + 0.5 * mouth_open, 0.2, 0.7);
    } else if (k.x < 4.5) {
        if (r.z > 1.37 + 0.03 * texture(grain, vec2(r.x * 2.0, 0.37)).r) discard;
        albedo = vec3(0.02, 0.015, 0.012); gloss = 0.0;
    }
#else
    {
        bool cap = hair_shape.z > 4.5;
        if (k.x < 5.5) {
            if (hair_shape.z < 3.5 || cap || r.z > 0.9 && r.y < hair_shape.y + 0.05) discard;
        } else {
            if (hair_shape.x <= 0.0 || k.w > 0.5) discard;
            float edge = cap ? r.y - (7.72 + 0.1 * r.z) : hair_edge(r);
            if (edge < 0.0) discard;
        }
        float angle = atan(r.x, r.z - 0.3);
        float strand = texture(grain, vec2(angle * 5.0, r.y * 0.35)).r;
        albedo = cap ? cloth.bgr * 0.8 + 0.05 : hair * (0.45 + 1.1 * strand);
        gloss = cap ? 0.02 : 0.12; power = 10.0; soft = 0.2;
    }
#endif
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y);
    float lit = max(0.0, (dot(normal, key_from) + soft) / (1.0 + soft));
#if MATERIAL == 0
    vec3 warm = vec3(1.0, 0.9 + 0.1 * lit, 0.86 + 0.14 * lit);
#else
    vec3 warm = vec3(1.0);
#endif
    light += key * lit * warm;
    light += fill * max(0.0, (dot(normal, fill_from) + soft) / (1.0 + soft));
    vec3 half_way = normalize(key_from + toward);
    float spark = pow(max(dot(normal, half_way), 0.0), power) * gloss;
    vec3 shaded = albedo * light * dark + key * spark * dark;
    colour = vec4(pow(clamp(shaded, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
}
"""


@dataclass(frozen=True)
class Light:
    """Where the light comes from (unit vectors toward it, camera axes) and its linear colours."""

    key_from: tuple[float, float, float]
    key: tuple[float, float, float]
    fill_from: tuple[float, float, float]
    fill: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]


@dataclass(frozen=True)
class Drawn:
    """One head at one moment, in camera space (decimetres; x right, y up, the camera looks along -z from 0)."""

    vertices: Floats
    normals: Floats
    look: Look
    crease: tuple[float, float, float, float]
    """How strongly the four patterns of furrows show."""
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
            context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT.replace("%d", str(material)))
            for material in range(len(_SURFACES))
        ]
        self._scalp = _scalp(head)
        count = len(head.rest)
        still = np.concatenate([head.rest, _kinds(head)], 1).astype(np.float32)
        shell = still[self._scalp.vertices].copy()
        shell[:, 3] = 6
        self._still = context.buffer(np.concatenate([still, shell]).tobytes())
        self._moving = context.buffer(reserve=(count + len(shell)) * 24)
        surfaces = [np.concatenate([head.triangles[part] for part in parts]) for parts in _SURFACES]
        surfaces[-1] = np.concatenate([surfaces[-1], self._scalp.triangles + count])
        self._vertex_arrays = [
            context.vertex_array(
                program,
                [(self._moving, "3f 3f", "position", "normal"), (self._still, "3f 4f", "rest", "kind")],
                context.buffer(triangles.astype(np.int32).tobytes()),
                skip_errors=True,
            )
            for program, triangles in zip(self._programs, surfaces, strict=True)
        ]
        self._drawing = context.framebuffer(
            [context.renderbuffer((size, size), 4, samples=SAMPLES)], context.depth_renderbuffer((size, size), SAMPLES)
        )
        self._resolved = context.framebuffer([context.renderbuffer((size, size), 4)])
        self._grain = context.texture((256, 256), 1, _grain().tobytes())
        self._painted: dict[int, tuple[Look, Any, Any]] = {}

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
        values = {name: getattr(light, name) for name in ("key_from", "key", "fill_from", "fill", "sky", "ground")}
        self._set({"projection": tuple(float(value) for value in lens.T.ravel()), **values})
        for one in heads:
            self._draw_one(one)
        context.copy_framebuffer(self._resolved, self._drawing)
        raw = np.frombuffer(self._resolved.read(components=4, alignment=1), np.uint8)
        return raw.reshape(self._size, self._size, 4)[::-1]

    def _draw_one(self, one: Drawn) -> None:
        look, head = one.look, self._head
        moving = np.concatenate([one.vertices, one.normals], 1)
        self._moving.write(np.concatenate([moving, moving[self._scalp.vertices]]).astype(np.float32).tobytes())
        paint, furrows = self._textures(look)
        for place, (texture, name) in enumerate([(paint, "paint"), (furrows, "furrows"), (self._grain, "grain")]):
            texture.use(place)
            self._set({name: place})
        eye = head.rest[head.left_eye]
        middle = (eye.min(0) + eye.max(0)) / 2
        style = ("bald", "short", "full", "long", "cap").index(look.hair_style) + 1
        values: dict[str, Any] = {
            "paint_place": (PAINT_LEFT, PAINT_LOW, PAINT_SIDE),
            "lip": look.lip,
            "iris": look.iris,
            "hair": look.hair,
            "cloth": look.cloth,
            "crease": tuple(look.crease * value for value in one.crease),
            "hair_shape": (look.hair_thickness, look.hairline, float(style), 0.0),
            "surface": (look.shine, look.teeth),
            "eyes": (float(middle[0]), float(middle[1]), float(np.ptp(eye[:, 1]) / 2)),
            "gaze": one.gaze,
            "mouth_open": one.mouth_open,
            "pupil": one.pupil,
            "glasses": look.glasses,
        }
        self._set(values)
        context = self._context
        for number, vertex_array in enumerate(self._vertex_arrays):
            # The skin is a closed surface, whose back need not be drawn; hair is not.
            (context.enable if number == 0 else context.disable)(context.CULL_FACE)
            vertex_array.render()

    def _set(self, values: dict[str, Any]) -> None:
        for program in self._programs:
            for name, value in values.items():
                # The compiler drops uniforms that nothing reads.
                if name in program:
                    program[name].value = value

    def _textures(self, look: Look) -> tuple[Any, Any]:
        held = self._painted.get(id(look))
        if held is None or held[0] is not look:
            if len(self._painted) > 8:
                for _, paint, furrows in self._painted.values():
                    paint.release()
                    furrows.release()
                self._painted.clear()
            side = look.paint.shape[0]
            paint = self._context.texture((side, side), 3, np.ascontiguousarray(look.paint).tobytes())
            furrows = self._context.texture((side, side), 4, np.ascontiguousarray(look.wrinkles).tobytes())
            self._painted[id(look)] = held = (look, paint, furrows)
        return held[1], held[2]


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
