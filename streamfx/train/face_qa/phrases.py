"""The phrases that captions are made of, each of which states the same facts wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping

from streamfx.train.face_qa.facts import FACTS, HELD_OUT, UNITS

Stated = tuple[tuple[str, str], ...]
"""Facts and their values."""

_SEXES: Mapping[str, str] = {"male": "man", "female": "woman", "": "person"}
_AGES: Mapping[str, tuple[str, ...]] = {
    "young": ("young", "youthful"),
    "middle": ("middle-aged",),
    "old": ("old", "elderly", "aged"),
    "": ("",),
}
_CHILDREN: Mapping[str, tuple[str, ...]] = {
    "male": ("boy", "male child"), "female": ("girl", "female child"), "": ("child",)
}  # fmt: skip
_FEELINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "happiness": (("happy", "joyful", "cheerful"), ("happiness", "joy")),
    "sadness": (("sad", "sorrowful", "unhappy"), ("sadness", "sorrow")),
    "neutral": (("neutral", "calm", "blank"), ("calmness",)),
    "anger": (("angry", "furious", "enraged"), ("anger", "rage")),
    "surprise": (("surprised", "astonished", "amazed"), ("surprise", "astonishment")),
    "disgust": (("disgusted", "revolted"), ("disgust", "revulsion")),
    "fear": (("frightened", "fearful", "scared"), ("fear", "fright")),
}
_ADVERBS: Mapping[str, tuple[str, ...]] = {
    "slight": ("slightly", "faintly", "mildly"),
    "clear": ("clearly", "visibly", "distinctly"),
    "strong": ("strongly", "intensely", "extremely"),
}
_SHAPES: Mapping[str, tuple[str, ...]] = dict(
    zip(
        UNITS,
        (
            ("raised inner brows", "lifted inner eyebrows"),
            ("raised outer brows", "lifted outer eyebrows"),
            ("lowered brows", "drawn-down eyebrows"),
            ("raised upper lids", "widened eyes"),
            ("raised cheeks", "lifted cheeks"),
            ("a wrinkled nose", "a crinkled nose"),
            ("pulled-up lip corners", "upturned mouth corners"),
            ("pulled-down lip corners", "drooping mouth corners"),
            ("a pushed-up chin", "a raised chin"),
            ("stretched lips", "a sideways-stretched mouth"),
            ("parted lips", "separated lips"),
            ("a dropped jaw", "a lowered jaw"),
        ),
        strict=True,
    )
)
_HAS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "smiling": (("a smile", "a smiling mouth"), ("no smile", "an unsmiling mouth")),
    "mouth_open": (("an open mouth", "a mouth held open"), ("a closed mouth", "a shut mouth")),
    "eyes_closed": (("closed eyes", "shut eyes"), ("open eyes",)),
    "beard": (("a beard", "a grown beard"), ("no beard", "a beardless chin")),
    "moustache": (("a moustache", "a mustache"), ("no moustache", "a bare upper lip")),
    "stubble": (("stubble", "a stubbly chin"), ("no stubble",)),
    "goatee": (("a goatee", "a small chin beard"), ("no goatee",)),
    "bald": (("a bald head", "a hairless scalp"), ("hair on the head",)),
    "black_hair": (("black hair", "a head of black hair"), ("hair that is not black",)),
    "blond_hair": (("blond hair", "a head of fair hair"), ("hair that is not blond",)),
    "brown_hair": (("brown hair", "a head of brown hair"), ("hair that is not brown",)),
    "grey_hair": (("grey or white hair", "a head of greyed hair"), ("hair that is not grey",)),
    "long_hair": (("long hair", "hair worn long"), ("hair that is not long",)),
    "receding_hairline": (("a receding hairline", "a hairline that recedes"), ("a full hairline",)),
    "bushy_eyebrows": (("bushy eyebrows", "thick eyebrows"), ("thin eyebrows", "fine eyebrows")),
    "bags_under_eyes": (("bags under the eyes", "pouches under the eyes"), ("no bags under the eyes",)),
    "rosy_cheeks": (("rosy cheeks", "flushed cheeks"), ("no rosy cheeks",)),
    "covered": (("something in front of the face", "a thing before the face"), ("nothing in front of the face",)),
    "lipstick": (("lipstick", "painted lips"), ("no lipstick", "unpainted lips")),
    "eye_make_up": (("eye make-up", "made-up eyes"), ("no eye make-up", "eyes without make-up")),
}
_SIDES: Mapping[str, str] = {"left": " to the left", "right": " to the right", "": ""}
_STATES: Mapping[Stated, tuple[str, ...]] = {
    (("pose", "frontal"),): ("facing the camera", "seen from the front"),
    **{
        (("pose", pose), *((("side", side),) if side else ())): tuple(word + where for word in words)
        for pose, words in {"half": ("half turned", "partly turned"), "profile": ("in profile", "fully turned")}.items()
        for side, where in _SIDES.items()
    },
    **{(("side", side),): (f"turned{_SIDES[side]}", f"looking{_SIDES[side]}") for side in ("left", "right")},
    (("pitch", "up"),): ("holding the head high", "raising the head"),
    (("pitch", "level"),): ("holding the head level", "keeping the head straight"),
    (("pitch", "down"),): ("lowering the head", "bending the head down"),
    (("light", "bright"),): ("in bright light", "brightly lit"),
    (("light", "normal"),): ("in ordinary light", "evenly lit"),
    (("light", "dim"),): ("in dim light", "dimly lit"),
    (("light", "side"),): ("lit from the side", "in light from one side"),
}


def without_article(phrase: str) -> str:
    """The phrase as the parser looks for it, so that an article that is missing or wrong loses nothing."""
    return phrase.removeprefix("a ").removeprefix("an ")


def _adverbial(adverb: str, shape: str) -> str:
    bare = without_article(shape)
    return f"{adverb} {bare}" if bare == shape else _counted(f"{adverb} {bare}")


def _counted(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _subjects() -> dict[Stated, tuple[str, ...]]:
    found: dict[Stated, tuple[str, ...]] = {}
    for sex, noun in _SEXES.items():
        has = (("sex", sex),) if sex else ()
        for age, words in _AGES.items():
            found[(*has, *((("age", age),) if age else ()))] = tuple(
                _counted(f"{word} {noun}".strip()) for word in words
            )
        found[(*has, ("age", "child"))] = tuple(_counted(noun) for noun in _CHILDREN[sex])
    return found


def _features() -> dict[Stated, tuple[str, ...]]:
    found: dict[Stated, tuple[str, ...]] = {}
    for feeling, (adjectives, nouns) in _FEELINGS.items():
        looks = [_counted(f"{word} {kind}") for word in adjectives for kind in ("expression", "look")]
        found[(("expression", feeling),)] = (*looks, *(f"a look of {noun}" for noun in nouns))
    for unit, shapes in _SHAPES.items():
        found[((unit, "none"),)] = tuple(f"no {without_article(shape)}" for shape in shapes)
        for strength, adverbs in _ADVERBS.items():
            found[((unit, strength),)] = tuple(_adverbial(adverb, shape) for adverb in adverbs for shape in shapes)
    for name, (yes, no) in _HAS.items():
        found[((name, "yes"),)], found[((name, "no"),)] = yes, no
    return found


SUBJECTS, FEATURES, STATES = _subjects(), _features(), _STATES
"""What states which facts: who it is, what they have (after `has`), and how they are (after `is`)."""
PHRASES: Mapping[str, Stated] = {
    without_article(phrase): stated
    for group in (SUBJECTS, FEATURES, STATES)
    for stated, phrases in group.items()
    for phrase in phrases
    if stated
}
"""Every phrase, without its article -> what it states."""
TOLD = tuple(name for name in FACTS if name not in HELD_OUT)
"""The facts that captions may state."""
