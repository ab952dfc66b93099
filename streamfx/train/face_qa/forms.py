"""The wordings of questions, by kind. The last three of each kind are held out: training never sees them."""

from __future__ import annotations

from collections.abc import Mapping

HELD_OUT_FORMS = 3

_HAVE = """
Does the person have {x}?
Does this person have {x}?
Does this face have {x}?
Is there {x} on this face?
Can you see {x}?
Do you see {x} on this person?
Would you say that this person has {x}?
Looking at the face, is there {x}?
Has this person got {x}?
Is it true that the person has {x}?
Does the picture show a person who has {x}?
Judging by the picture, does the person have {x}?
{X}: is it there?
Tell me whether this is a face with {x}.
Am I right to think that {x} can be seen here?
"""
_BE = """
Is the person {x}?
Is this person {x}?
Is the person in the picture {x}?
Would you say that this person is {x}?
Does this person look {x}?
Can you tell whether the person is {x}?
Is the face shown that of somebody {x}?
Looking at the face, is this person {x}?
Is it true that the person is {x}?
Judging by the picture, is the person {x}?
Does the picture show somebody who is {x}?
Is somebody {x} in this picture?
{X}: does that describe this person?
Tell me whether the one shown is {x}.
Am I right to think that this is somebody {x}?
"""
_WEAR = """
Is the person wearing {x}?
Is this person wearing {x}?
Does the person wear {x}?
Does this face wear {x}?
Can you see the person wearing {x}?
Would you say that this person wears {x}?
Looking at the face, does the person wear {x}?
Has the person got {x} on?
Is it true that the person is wearing {x}?
Does the picture show somebody wearing {x}?
Judging by the picture, is the person wearing {x}?
Do you see {x} on this person?
{X}: is it worn here?
Tell me whether the one shown has {x} on.
Am I right to think that {x} is being worn?
"""
_CAPTION = """
Describe the face.
Describe this face.
Describe the person in the picture.
What does the face look like?
Write a caption for this face.
What can be seen in this picture?
Give a description of the face.
Say what this face shows.
How would you describe this face?
Describe what you see.
Please describe the face in detail.
Tell me about this face.
Put this face into words.
What would you tell somebody who cannot see this face?
Give an account of how this person looks.
"""
_EXPRESSION = """
What is the expression of this face?
Which look does the face have?
What does the expression look like?
Which of these expressions does the person show?
How does this person's face look?
Name the facial expression.
Which expression do you see?
What is the look on this face?
Judging by the face, which expression is shown?
What word fits this expression best?
How would you label this face's expression?
The look on this face is one of what?
"""
_AGE = """
How old does the person look?
Which age group does the person belong to?
What age group is this?
About how old is this person?
Which age fits this face?
What stage of life is the person in?
Looking at the face, which age group is it?
How old would you say this person is?
Judging by the face, what age group is this?
Place this person in an age group.
By looks alone, which age group fits?
What would you guess as this person's time of life?
"""
_YEARS = """
How many years old does the person look?
What is the age in years?
Estimate the age of this person in years.
How old is this person, in years?
Give the age as a number.
About how many years old is the person?
What age, in years, fits this face?
Say the apparent age in years.
How many years would you give this person?
Guess the years of this person.
By looks alone, how many years has this person lived?
Put a number of years on this face.
"""
_SEX = """
Is this a man or a woman?
Does the face look male or female?
What is the sex of this person?
Is the person male or female?
Is the person shown a male or a female?
Which sex does the face look like?
Looking at the face, is it male or female?
Would you say that the person is male or female?
Judging by the face, which sex is it?
Say the apparent sex.
By looks alone, male or female?
Tell me which sex this face seems to have.
"""
_UNIT = """
Is there {x}?
Does the face show {x}?
Can you see {x}?
Do you see {x} in this face?
Does this person show {x}?
Is {x} visible?
Looking at the muscles of the face, is there {x}?
Is the face showing {x}?
Would you say that the face shows {x}?
Judging by the face, is there {x}?
{X}: does this face show it?
Tell me whether {x} can be made out.
"""
_STRENGTH = """
How strong is {x}?
How strongly does the face show {x}?
To what degree is there {x}?
How much of {x} can you see?
How clear is {x}?
What is the strength of {x}?
Looking at the face, how strong is {x}?
Rate {x} in this face.
How far does the face show {x}?
How visible is {x}?
{X}: how strong is it here?
Tell me the degree to which {x} can be made out.
"""
_HAIR = """
What colour is the hair?
Which hair colour does the person have?
What is the colour of this person's hair?
Which of these is the hair colour?
How would you name the hair colour?
Say the colour of the hair.
Looking at the hair, what colour is it?
What hair colour do you see?
Judging by the picture, what colour is the hair?
Name this person's hair colour.
Tell me which colour the hair has.
The hair here is of what colour?
"""
_POSE = """
How is the head turned?
Which way is the face shown?
From which side is the face seen?
Is the face seen from the front or turned?
How far is the face turned?
What is the pose of the head?
How does the head stand to the camera?
Which pose is this?
Looking at the head, how is it turned?
Say how far the head is turned.
Tell me how the head stands towards the viewer.
In what pose do we meet this face?
"""
_SIDE = """
To which side of the picture is the face turned?
Which way is the head turned?
Does the face turn to the left or to the right of the picture?
Towards which side does the person face?
Which side of the picture does the face point to?
Is the head turned to the left or to the right of the picture?
What direction does the face point in?
Left or right: where is the face turned?
Looking at the head, which way does it turn?
Say to which side the face is turned.
Tell me the side that this head is turned to.
The nose points to which side of the picture?
"""
_PITCH = """
Is the head raised, level or lowered?
Is the face tipped up or down?
Does the head point up, down or straight ahead?
How is the head tipped?
Is the chin raised, level or lowered?
Up, level or down: how is the head held?
Does the person hold the head up, level or down?
What is the tilt of the head, up or down?
Looking at the head, is it tipped up or down?
Say whether the head is up, level or down.
Tell me how high the head is held.
Between up, level and down, where does this head point?
"""
_LIGHT = """
How is the face lit?
What is the light like?
Which light falls on the face?
What kind of light is this?
How would you describe the light?
Which of these fits the light?
How does the light fall on the face?
What lighting does the picture have?
Looking at the light, what is it like?
Say what the light is like.
Tell me how this face is lit.
The light here is of which kind?
"""
_WHICH = """
Which of these can be seen?
Which of these does the face show?
Which of these is true of the face?
Which of these describes the person?
Which one fits the face?
What can be seen in this face?
Which of these do you see?
Choose what the face shows.
Looking at the face, which one is there?
Only one of these is true. Which one?
Tell me which one is found here.
Pick what belongs to this face.
"""
FORMS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(text.strip().splitlines())
    for kind, text in {
        "have": _HAVE,
        "be": _BE,
        "wear": _WEAR,
        "caption": _CAPTION,
        "expression": _EXPRESSION,
        "expression-letters": _EXPRESSION,
        "age": _AGE,
        "years": _YEARS,
        "sex": _SEX,
        "unit": _UNIT,
        "strength": _STRENGTH,
        "hair": _HAIR,
        "pose": _POSE,
        "side": _SIDE,
        "pitch": _PITCH,
        "light": _LIGHT,
        "which": _WHICH,
    }.items()
}
"""Kind -> its wordings. `{x}` is what is asked for, `{X}` the same at the beginning of a sentence."""


def template_ids(kind: str, held_out: bool) -> list[str]:
    """The ids of a kind's wordings that are held out, or of all others."""
    count = len(FORMS[kind])
    numbers = range(count - HELD_OUT_FORMS, count) if held_out else range(count - HELD_OUT_FORMS)
    return [f"{kind}-{number + 1:02d}" for number in numbers]


def is_held_out(template: str) -> bool:
    """Whether an id is that of a held-out wording."""
    kind, _, number = template.rpartition("-")
    return int(number) > len(FORMS[kind]) - HELD_OUT_FORMS


def question(template: str, x: str = "") -> str:
    """The wording of an id, about `x`."""
    kind, _, number = template.rpartition("-")
    return FORMS[kind][int(number) - 1].replace("{x}", x).replace("{X}", x[:1].upper() + x[1:])
