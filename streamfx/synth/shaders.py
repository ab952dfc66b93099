"""GLSL programs of the renderer: one for the vertices of the head, one each for its kinds of surface, two for things worn.

Colours are linear; the picture holds their square roots after a soft shoulder, as a camera's curve does. The software
renderer runs every branch for every pixel, so powers are written as products and each kind of surface has a program.
"""

from __future__ import annotations

from streamfx.synth.wrinkles import SLOPE_LIMIT

SKIN, MOIST, HAIR = 0, 1, 2
"""Kinds of surface: skin with clothes; eyes, teeth, tongue and lashes; hair with hats."""

VERTEX = """
#version 330
uniform mat4 projection;
uniform vec4 hair_kind;   // thickness, curl, cover, lowest end
uniform vec4 hat_kind;    // kind, height in front, height behind, thickness
in vec3 position; in vec3 normal; in vec3 rest; in vec4 kind;  // material, lips, inside of the mouth, ear
out vec3 at; out vec3 n; out vec3 r; out vec4 k;
void main() {
    vec3 p = position;
    if (kind.x > 5.5) {
        float lumps = sin(rest.x * 31.0 + rest.y * 17.0) * sin(rest.y * 29.0 + rest.z * 23.0);
        float thick = hair_kind.x * (1.0 + hair_kind.y * 0.45 * lumps);
        float brim = mix(hat_kind.z, hat_kind.y, smoothstep(0.0, 1.2, rest.z));
        if (hat_kind.x > 0.5 && rest.y > brim) thick = max(hat_kind.w, min(thick, 0.12) + 0.02);
        p += normal * thick;
    }
    at = p; n = normal; r = rest; k = kind;
    gl_Position = projection * vec4(p, 1.0);
}
"""

_LIGHT = """
uniform vec3 key_from; uniform vec3 key; uniform vec3 fill_from; uniform vec3 fill; uniform vec3 sky; uniform vec3 ground;
uniform float wrap;
vec3 tone(vec3 c) { return sqrt(clamp(1.3 * c / (1.0 + 0.45 * c), 0.0, 1.0)); }
"""

FRAGMENT = (
    """
#version 330
#define MATERIAL %d
uniform sampler2D paint; uniform sampler2D relief; uniform sampler2D grain;
uniform vec3 paint_place;   // left, low, side
uniform vec3 axis_x; uniform vec3 axis_y;   // the head's left and up
uniform vec3 lip; uniform vec3 iris; uniform vec3 hair; uniform vec3 cloth; uniform vec3 second; uniform vec3 hat;
uniform vec4 hair_line; // height, peak, receding corners, lowest fringe
uniform vec2 fringe;    // kind, parting
uniform vec4 hair_kind; uniform vec4 hat_kind;
uniform vec2 surface;   // shine, whiteness of the teeth
uniform vec2 cloth_kind;  // pattern, neckline
uniform float gaps; uniform float lashes;
uniform vec4 eyes;      // the left eye's middle at rest, its radius
uniform vec2 gaze; uniform float mouth_open; uniform float pupil;
in vec3 at; in vec3 n; in vec3 r; in vec4 k;
out vec4 colour;
"""
    + _LIGHT
    + """
float hair_edge(vec3 p) {
    float front = smoothstep(-0.25, 1.05, p.z);
    float side = smoothstep(0.35, 0.75, abs(p.x)) * smoothstep(0.2, 0.7, p.z);
    float corner = abs(p.x) - 0.36;
    float line = hair_line.x - 0.35 * side - 0.12 * p.x * p.x
        - hair_line.y / (1.0 + 260.0 * p.x * p.x) + hair_line.z / (1.0 + 34.0 * corner * corner);
    float jag = texture(grain, vec2(p.x * 1.7, p.z * 0.9 + p.y * 0.3)).r - 0.5;
    float low = hair_line.w + (fringe.x > 1.5 ? 0.32 * clamp(0.5 + (p.x - fringe.y) * 1.3, 0.0, 1.0) : 0.0);
    if (fringe.x > 0.5) line = mix(min(line, low + 0.16 * jag), line, smoothstep(0.42, 0.6, abs(p.x)));
    return p.y - mix(6.5, line, front) + 0.12 * jag;
}

void main() {
    vec3 normal = normalize(n);
    vec3 toward = normalize(-at);
#if MATERIAL == 2
    if (dot(normal, toward) < 0.0) normal = -normal;
#endif
    vec3 albedo; float gloss = surface.x; float dark = 1.0; vec3 smooth_normal = normal; float blood = 0.0;
#if MATERIAL == 0
    {
        // Sideways the face falls away from its front view, and the paint is wrapped around it.
        vec2 wrapped = vec2(r.x + sign(r.x) * 0.55 * max(0.0, 1.2 - r.z), r.y);
        vec2 place = (wrapped - paint_place.xy) / paint_place.z;
        vec4 painted = texture(paint, place);
        vec4 raised = texture(relief, place);
        float grown = texture(grain, r.xy * vec2(4.1, 1.3)).r;
        albedo = painted.rgb * painted.rgb;
        gloss *= painted.a * (0.6 + 2.2 * painted.r);
        float before = smoothstep(0.1, 0.5, r.z) * smoothstep(5.98, 6.12, r.y);
        vec2 slope = (raised.xy - 0.50196) * %SLOPE * before;
        vec3 x = axis_x - normal * dot(axis_x, normal), y = axis_y - normal * dot(axis_y, normal);
        normal = normalize(normal - slope.x * x - slope.y * y);
        float low = (raised.z - 0.50196) * 2.0 * before;
        albedo *= 1.0 + vec3(0.40, 0.52, 0.52) * min(low, 0.0) + 0.06 * max(low, 0.0);
        float lips = smoothstep(0.25, 0.75, k.y);
        albedo = mix(albedo, lip * (0.7 + 0.6 * grown), 0.85 * lips);
        gloss = mix(gloss, 0.12 + 0.3 * grown, lips);
        // Blood shows where skin is lit from the side.
        blood = 1.0;
        if (k.z > 0.5) { albedo = vec3(0.13, 0.02, 0.02); gloss = 0.02; dark = 0.5; }
        dark *= 1.0 - 0.42 * smoothstep(6.3, 6.08, r.y) * smoothstep(5.3, 5.8, r.y) * smoothstep(1.5, 1.1, r.z);
        float collar = cloth_kind.y > 1.5 ? 5.85 : cloth_kind.y > 0.5 ? 5.30 + 0.85 * abs(r.x) - 0.22 * r.z
            : 5.55 + 0.35 * abs(r.x) - 0.25 * r.z;
        if (r.y < collar) {
            vec2 weave = fract(r.xy * vec2(3.5, 4.5) + 0.25);
            float woven = cloth_kind.x > 1.5 ? step(0.55, weave.x) * 0.5 + step(0.55, weave.y) * 0.5
                : cloth_kind.x > 0.5 ? step(0.6, weave.y) : 0.0;
            albedo = mix(cloth, second, woven) * (0.8 + 0.4 * grown);
            gloss = 0.02; blood = 0.0; normal = normalize(smooth_normal + 0.25 * (grown - 0.5));
            dark = 0.75 + 0.25 * smoothstep(0.0, 0.1, collar - r.y);
        } else {
            float scalp = hair_edge(r);
            if (hair_kind.z > 0.0 && k.w < 0.5) {
                float covered = hair_kind.z * smoothstep(-0.03, 0.05, scalp + 0.06 * (grown - 0.5));
                albedo = mix(albedo, hair, covered); blood *= 1.0 - covered; gloss *= 1.0 - covered;
                if (hair_kind.x > 0.05) dark *= 1.0 - 0.3 * smoothstep(-0.13, 0.0, scalp);
            }
            if (hat_kind.x > 0.5) dark *= 1.0 - 0.4 * smoothstep(hat_kind.y - 0.3, hat_kind.y, r.y) * step(0.6, r.z);
        }
    }
#elif MATERIAL == 1
    if (k.x < 1.5) {
        vec2 d = vec2(abs(r.x) - eyes.x, r.y - eyes.y) / eyes.w;
        if (r.x < 0.0) d.x = -d.x;
        d -= gaze;
        float away = length(d);
        float veins = texture(grain, d * 0.7).r;
        albedo = mix(vec3(0.54, 0.50, 0.48), vec3(0.46, 0.33, 0.30), smoothstep(0.5, 1.0, away + 0.35 * (veins - 0.5)));
        vec3 rays = iris * (0.6 + 0.8 * texture(grain, vec2(atan(d.y, d.x), away * 0.3)).r);
        albedo = mix(rays, albedo, smoothstep(0.40, 0.46, away));
        albedo *= 1.0 - 0.6 * smoothstep(0.34, 0.42, away) * (1.0 - smoothstep(0.42, 0.5, away));
        albedo = mix(vec3(0.004), albedo, smoothstep(pupil, pupil + 0.05, away));
        // The upper lid's shadow.
        dark = 1.0 - 0.5 * smoothstep(0.15, 0.8, d.y + gaze.y);
        gloss = 0.9;
    } else if (k.x < 2.5) {
        float across = abs(r.x), upper = step(6.615, r.y);
        float rim = upper > 0.5 ? min(min(across, abs(across - 0.088)), min(abs(across - 0.158), abs(across - 0.225)))
            : min(min(across, abs(across - 0.056)), min(abs(across - 0.115), abs(across - 0.18)));
        float gap = 1.0 - smoothstep(0.002, 0.006 + 0.010 * gaps, rim);
        albedo = vec3(0.64, 0.59, 0.51) * surface.y * (1.0 - (0.35 + 0.35 * gaps) * gap);
        float gum = upper > 0.5 ? smoothstep(6.735, 6.755, r.y + 0.02 * cos(across * 71.0)) : smoothstep(6.50, 6.48, r.y);
        albedo = mix(albedo, vec3(0.45, 0.15, 0.15), gum);
        gloss = 0.35;
        dark = clamp(0.80 + 0.4 * mouth_open, 0.3, 1.0) * smoothstep(0.95, 1.42, r.z);
        dark *= 1.0 - 0.45 * smoothstep(0.12, 0.3, across);
    } else if (k.x < 3.5) {
        float bumps = texture(grain, r.xz * 4.0).r;
        albedo = vec3(0.50, 0.16, 0.16) * (0.75 + 0.5 * bumps) * (1.0 - 0.35 * smoothstep(0.02, 0.0, abs(r.x)));
        gloss = 0.2; dark = clamp(0.3 + 0.6 * mouth_open, 0.25, 0.8);
    } else if (k.x < 4.5) {
        float out_of = length(vec3(abs(r.x), r.yz) - eyes.xyz) / eyes.w;
        if (out_of > 1.18 + 0.14 * lashes + 0.2 * texture(grain, vec2(r.x * 2.0, 0.37)).r) discard;
        albedo = vec3(0.02, 0.015, 0.012); gloss = 0.0;
    }
#else
    {
        float brim = mix(hat_kind.z, hat_kind.y, smoothstep(0.0, 1.2, r.z));
        bool hatted = hat_kind.x > 0.5 && r.y > brim;
        if (k.x < 5.5) {
            if (r.y < hair_kind.w || hatted || r.z > 0.9 && r.y < hair_line.x + 0.05) discard;
        } else if (hatted) {
            if (k.w > 0.5) discard;
        } else {
            if (hair_kind.x <= 0.0 || k.w > 0.5 || hair_edge(r) < 0.0) discard;
        }
        if (hatted) {
            float knit = hat_kind.x > 1.5 && hat_kind.x < 2.5 ? 0.5 + 0.5 * sin(atan(r.x, r.z - 0.3) * 70.0) : 0.6;
            albedo = hat * (0.7 + 0.4 * knit); gloss = 0.02;
            dark = hat_kind.x > 2.5 && r.y < brim + 0.08 ? 0.35 : 0.8 + 0.2 * smoothstep(0.0, 0.12, abs(r.y - brim - 0.2));
        } else {
            float angle = atan(r.x - fringe.y * 0.3, r.z - 0.3);
            float strand = texture(grain, vec2(angle * 5.0, r.y * (0.35 + 2.0 * hair_kind.y))).r;
            float tuft = texture(grain, vec2(angle * 1.3, r.y * (0.12 + 1.5 * hair_kind.y))).r;
            albedo = hair * (0.25 + 0.9 * strand + 0.5 * tuft);
            albedo *= 1.0 - 0.45 * exp(-abs(r.x - fringe.y) * 40.0) * step(7.8, r.y) * step(0.3, r.z) * (1.0 - hair_kind.y);
            gloss = 0.22 * strand * (1.0 - 0.7 * hair_kind.y);
        }
    }
#endif
    vec3 half_way = normalize(key_from + toward);
#if MATERIAL == 2
    // Strands shine in a band across them.
    vec3 strand_way = normalize(-axis_y + normal * dot(axis_y, normal) + 0.001);
    float along = dot(strand_way, half_way);
    float s = clamp(1.0 - along * along, 0.0, 1.0) * clamp(0.3 + dot(normal, half_way), 0.0, 1.0);
#else
    float s = max(dot(normal, half_way), 0.0);
#endif
    float s2 = s * s, s4 = s2 * s2, s8 = s4 * s4, s16 = s8 * s8;
#if MATERIAL == 1
    float spark = s16 * s16 * s16 * s16 * gloss;
#else
    float spark = (0.7 * s16 + 0.3 * s8) * gloss;
#endif
    float facing = dot(normal, key_from);
    // Light goes some way through skin, red the furthest: shadows begin later and warmer than on other things.
    vec3 reach = wrap + blood * vec3(0.22, 0.06, 0.0);
    vec3 lit = max(vec3(0.0), (mix(vec3(facing), vec3(dot(smooth_normal, key_from), facing, facing), 0.6 * blood) + reach)
        / (1.0 + reach));
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y) + key * lit
        + fill * max(0.0, (dot(normal, fill_from) + wrap) / (1.0 + wrap));
    float edge = 1.0 - max(dot(normal, toward), 0.0);
    spark += 0.12 * gloss * edge * edge * edge;
    colour = vec4(tone(albedo * light * dark + (key + 0.4 * sky) * spark * dark), 1.0);
}
"""
).replace("%SLOPE", str(2 * SLOPE_LIMIT))
"""Source for each of SKIN, MOIST and HAIR, with `%d` for the number."""

WORN_VERTEX = """
#version 330
uniform mat4 projection;
in vec3 position; in vec3 normal; in vec3 tint;
out vec3 at; out vec3 n; out vec3 c;
void main() { at = position; n = normal; c = tint; gl_Position = projection * vec4(position, 1.0); }
"""

WORN_FRAGMENT = (
    """
#version 330
uniform float glass;    // how dark the lenses are; below 0: no lens but a frame or a hat
in vec3 at; in vec3 n; in vec3 c;
out vec4 colour;
"""
    + _LIGHT
    + """
void main() {
    vec3 normal = normalize(n), toward = normalize(-at);
    if (dot(normal, toward) < 0.0) normal = -normal;
    vec3 half_way = normalize(key_from + toward);
    float s = max(dot(normal, half_way), 0.0);
    float s2 = s * s, s4 = s2 * s2, s8 = s4 * s4, s16 = s8 * s8;
    float lit = max(0.0, (dot(normal, key_from) + wrap) / (1.0 + wrap));
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y) + key * lit
        + fill * max(0.0, (dot(normal, fill_from) + wrap) / (1.0 + wrap));
    if (glass < 0.0) {
        colour = vec4(tone(c * light + key * 0.25 * s16), 1.0);
    } else {
        // A lens mirrors the light, the sky above and, at its rim, all around.
        vec3 seen = reflect(-toward, normal);
        float edge = 1.0 - max(dot(normal, toward), 0.0);
        float mirrored = 0.02 + 0.5 * edge * edge;
        float s64 = s16 * s16 * s16 * s16;
        vec3 glint = key * s64 * s64 * 0.9 + sky * mirrored * smoothstep(0.0, 0.5, seen.y);
        vec3 shown = tone(c * light * glass + glint);
        float cover = clamp(glass + 0.5 * max(shown.r, max(shown.g, shown.b)) * (1.0 - glass), 0.0, 1.0);
        colour = vec4(min(shown, vec3(cover)), cover);
    }
}
"""
)
