"""How facts are worded: what questions call them, and what captions say. No wording stands for two things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamfx.train.face_qa.facts import UNITS


@dataclass(frozen=True)
class Wording:
    """How an attribute is asked for. `kind`: a key of FORMS. `asked`: what stands for `{x}`. `short`: as an option among
    others."""

    kind: str
    asked: tuple[str, ...]
    short: str


WORDINGS: Mapping[str, Wording] = {
    "smiling": Wording("be", ("smiling", "smiling just now", "caught smiling"), "a smile"),
    "mouth_open": Wording("have", ("an open mouth", "a mouth that is open", "open lips"), "an open mouth"),
    "eyes_closed": Wording("have", ("closed eyes", "shut eyes", "eyes that are closed"), "closed eyes"),
    "beard": Wording("have", ("a beard", "a grown beard", "a proper beard"), "a beard"),
    "moustache": Wording("have", ("a moustache", "hair on the upper lip", "a mustache"), "a moustache"),
    "stubble": Wording("have", ("stubble", "a stubbly chin", "a five o'clock shadow"), "stubble"),
    "goatee": Wording("have", ("a goatee", "a beard on the chin alone", "a small chin beard"), "a goatee"),
    "bald": Wording("be", ("bald", "bald-headed", "completely bald"), "a bald head"),
    "black_hair": Wording("have", ("black hair", "hair that is black", "a head of black hair"), "black hair"),
    "blond_hair": Wording("have", ("blond hair", "fair hair", "a head of blond hair"), "blond hair"),
    "brown_hair": Wording("have", ("brown hair", "hair that is brown", "a head of brown hair"), "brown hair"),
    "grey_hair": Wording("have", ("grey or white hair", "grey hair", "hair that has gone grey"), "grey hair"),
    "long_hair": Wording("have", ("long hair", "hair worn long", "hair down to the shoulders"), "long hair"),
    "receding_hairline": Wording(
        "have", ("a receding hairline", "hair that recedes", "a hairline that is moving back"), "a receding hairline"
    ),
    "bushy_eyebrows": Wording("have", ("bushy eyebrows", "thick eyebrows", "heavy brows"), "bushy eyebrows"),
    "bags_under_eyes": Wording(
        "have", ("bags under the eyes", "pouches under the eyes", "puffy lower lids"), "bags under the eyes"
    ),
    "rosy_cheeks": Wording("have", ("rosy cheeks", "red cheeks", "flushed cheeks"), "rosy cheeks"),
    "covered": Wording(
        "have",
        ("something in front of the face", "a thing that covers part of the face", "something that hides a part"),
        "something in front of it",
    ),
    "lipstick": Wording("wear", ("lipstick", "colour on the lips", "lip make-up"), "lipstick"),
    "eye_make_up": Wording("wear", ("eye make-up", "make-up around the eyes", "eye shadow"), "eye make-up"),
    "glasses": Wording("wear", ("glasses", "spectacles", "a pair of glasses"), "glasses"),
    "hat": Wording("wear", ("a hat", "a hat or cap", "something on the head, such as a cap"), "a hat"),
    "wavy_hair": Wording("have", ("wavy hair", "curly hair", "hair with waves or curls"), "wavy hair"),
    "bangs": Wording("have", ("bangs", "a fringe", "hair that falls over the forehead"), "bangs"),
}
UNIT_WORDS: Mapping[str, tuple[str, ...]] = dict(
    zip(
        UNITS,
        (
            ("an inner brow raise", "a raise of the inner brows", "action unit 1, the inner brow raiser"),
            ("an outer brow raise", "a raise of the outer brows", "action unit 2, the outer brow raiser"),
            ("a lowering of the brows", "a drawing down of the brows", "action unit 4, the brow lowerer"),
            ("a raise of the upper lids", "a widening of the eyes", "action unit 5, the upper lid raiser"),
            ("a raise of the cheeks", "a lifting of the cheeks", "action unit 6, the cheek raiser"),
            ("a wrinkling of the nose", "a nose wrinkle", "action unit 9, the nose wrinkler"),
            ("a pull of the lip corners upward", "a raise of the lip corners", "action unit 12, the lip corner puller"),
            ("a pull of the lip corners down", "a drop of the lip corners", "action unit 15, the lip corner depressor"),
            ("a raise of the chin", "a pushing up of the chin", "action unit 17, the chin raiser"),
            ("a stretch of the lips", "a sideways stretch of the mouth", "action unit 20, the lip stretcher"),
            ("a parting of the lips", "a gap between the lips", "action unit 25, lips part"),
            ("a drop of the jaw", "a lowering of the jaw", "action unit 26, jaw drop"),
        ),
        strict=True,
    )
)
"""How action units are asked for."""
VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "expression": {
        "happiness": ("happiness", "happy"),
        "sadness": ("sadness", "sad"),
        "neutral": ("neutral", "calm"),
        "anger": ("anger", "angry"),
        "surprise": ("surprise", "surprised"),
        "disgust": ("disgust", "disgusted"),
        "fear": ("fear", "afraid"),
    },
    "age": {"child": ("child",), "young": ("young",), "middle": ("middle-aged",), "old": ("old",)},
    "sex": {"male": ("male", "man"), "female": ("female", "woman")},
    "strength": {"none": ("none",), "slight": ("slight",), "clear": ("clear",), "strong": ("strong",)},
    "pose": {"frontal": ("from the front",), "half": ("half turned",), "profile": ("in profile",)},
    "side": {"left": ("left",), "right": ("right",)},
    "pitch": {"up": ("up",), "level": ("level",), "down": ("down",)},
    "light": {"bright": ("bright",), "normal": ("normal",), "dim": ("dim",), "side": ("from the side",)},
    "hair": {"black": ("black",), "blond": ("blond",), "brown": ("brown",), "grey": ("grey",)},
}
"""How the values of choices are worded; all answers of one question use the same set of words."""
CANNOT = "cannot be seen"
