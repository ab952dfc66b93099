"""The forty attributes of CelebA, in its order, and which of them are sensitive, as data.

Sensitive is what tells a person's sex, age, skin or origin, or judges beauty: by saying it, or because it hardly occurs
without it, as a beard. `privacy/sensitive.py` says when such an attribute may leave.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamfx.columns import Sensitive

CELEBA = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""Names and order as in `list_attr_celeba.txt`."""
SENSITIVE: Mapping[str, Sensitive] = {
    **dict.fromkeys(("Male", "5_o_Clock_Shadow", "Goatee", "Mustache", "No_Beard", "Sideburns"), "sex"),
    **dict.fromkeys(("Heavy_Makeup", "Wearing_Lipstick", "Arched_Eyebrows", "Bushy_Eyebrows"), "sex"),
    **dict.fromkeys(("Wearing_Earrings", "Wearing_Necklace", "Wearing_Necktie"), "sex"),
    **dict.fromkeys(("Young", "Bags_Under_Eyes", "Bald", "Gray_Hair", "Receding_Hairline"), "age"),
    **dict.fromkeys(("Pale_Skin", "Rosy_Cheeks"), "skin"),
    **dict.fromkeys(("Big_Lips", "Big_Nose", "Narrow_Eyes", "Black_Hair", "Blond_Hair", "Brown_Hair"), "origin"),
    **dict.fromkeys(("Straight_Hair", "Wavy_Hair"), "origin"),
    **dict.fromkeys(("Attractive", "Chubby", "Double_Chin", "High_Cheekbones", "Oval_Face", "Pointy_Nose"), "beauty"),
}
"""What each sensitive attribute tells or judges; the others are plain."""


def column_name(attribute: str) -> str:
    """The name of an attribute's column, `attr_` before its lower-case name."""
    return f"attr_{attribute.lower()}"
