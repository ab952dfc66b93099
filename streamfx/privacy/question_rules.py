"""The rules that a question to a face may break, and the words by which it asks for what is sensitive, as patterns.

They are applied to small letters and single spaces, without accents and signs. A rule has words, which name what a question
is about, and sentences, which forbid what is made of harmless words. The words are English, and the commonest of German,
French and Spanish, so that the rule is named: a question with a word that is not in `seen_words.py` is refused anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from streamfx.columns import Sensitive


def _words(text: str) -> str:
    """A pattern of words parted by spaces; `*` stands for any ending, and `_` for a space or nothing."""
    return r"\b(?:" + "|".join(word.replace("*", r"\w*").replace("_", " ?") for word in text.split()) + r")\b"


def _rule(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# Parts of the sentences below.
_MAN = _words("man boy gentleman")
_WOMAN = _words("woman girl lady")
_SOMEBODY = _words(
    "person people human man men woman women boy* girl* child children kid* adults? individual figure subject gentleman "
    "teenager toddler infant ones? guys? baby lady male* female*"
)
_PERSON = (
    "he she they him somebody someone person people man men woman women boy girl child kid adult individual figure subject "
    "gentleman teenager toddler infant one baby lady male female human"
)
_HE = _words(f"{_PERSON} faces?")
_THE = r"(?:(?:the|this|that|these|those|any|a|his|her|their) )?"
_SHADE = _words("black white brown yellow dark* pale* fair light lighter tan* olive violet beige red colou?red")
_SHADE_OF_SKIN = _SHADE.replace("|red", "")
_TRAIT = _words(
    "good bad kind poor rich cold hard soft strong weak low high simple slow quick fast thick natural normal strange loose "
    "straight well thin heavy different equal rough positive negative left right proud hot cool sweet"
)
_TRAIT_OR_LIGHT = _words("sharp bright deep dim dirty clean warm")
"""Of a person a trait; a face may have it from light, focus or paint."""
_BODY = _words(
    "hands? palms? forehead cheeks? arms? neck chin nose ears? legs? feet fingers? body chest throat shoulders?"
)
_CLOSE = _words("man men woman women boys? girls? lady child children kids? baby babies")
_PART = _words("eyes? ears? hands? arms? fingers? legs? foot feet nose teeth tooth")
_MADE = _words("glass metal plastic wood wooden")
_FEELING = _words("smile laugh laughter emotion expression tears joy anger fear")
_PICTURE = _words("picture photo photograph image frame video film footage camera shot portrait selfie")
_NOT_IN = r"(?<!in this )(?<!in the )(?<!on this )(?<!on the )"
_END = rf"(?: (?:in|on) (?:this|the) {_PICTURE})?$"
_SIGN = _words("small* tiny large* big* wide* huge differ* unequal uneven")
_DRESSED = r"(?!.*\b(?:wear|dress|hold|paint|cover|turn|look|lean|tilt|light|lit|side|point|mov|doing|show|hair))"


def _of_a_person(quality: str, he: str = _HE) -> tuple[str, ...]:
    """Patterns by which `quality` is said of a person (`he`), and not of a thing."""
    subject = rf"{_THE}(?:\w+ )?{he}"
    very = r"(?:(?:a|an|very|quite|rather|too|more|most|really|or|both) )*"
    return (
        # a white man
        rf"{quality}(?: skinned| half of| part of)? {_SOMEBODY}(?! (?:hat|coat|shirt))",
        # is she white; he looks white and
        rf"{_NOT_IN}{he} (?:is |are |was |looks? |seems? |appears? )?{very}{quality}(?={_END}| and\b| or\b| but\b| than\b)",
        # is the woman with the glasses white
        rf"\b(?:is|are|was|were|does|do|could|looks?|seems?|whether|if|that|tell) {subject}{_DRESSED}.* "
        rf"(?<!in )(?<!of )(?<!the ){quality}(?:{_END}| than\b)",
        # which describes the man with the hat, and an answer
        rf"^(?:which|what|how)(?: \w+){{0,3}}? (?:describes?|fits?|suits?|match|matches|is|are)(?: best)? {subject}"
        rf"{_DRESSED}.* {quality}$",
    )


RULES: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "orientation": (
        "sexual orientation or gender identity",
        _rule(
            _words(
                "gay* lesb* homo homos homosex* homophil* hetero* bi_sex* bi asexual* queer* lgbt* sexual* trans "
                "transsex* transgender* transvest* transman transwoman cis* non_binary pronoun* dysphor* schwul*"
            ),
            r"\bidentif\w+ as\b|\bgender identity|\bborn (?:a )?(?:man|woman|male|female)\b|\battract(?:ed|ion)\b",
            # Whom he likes; "looks like men" is about looks.
            r"(?<!look )(?<!looks )(?<!looking )\b(?:likes?|loves?|into|goe?s? for|prefers?|dates?|dating|kiss\w*) "
            r"(?:other |the |only |both )?(?:men|women|boys|girls|males|females)\b",
            rf"\bsleep\w* with (?:\w+ )?{_SOMEBODY}",
            r"\bhold\w* hands? with\b|\bonce an?\b",
            # What is usual for one of them
            r"\bfor an? (?:\w+ )?(?:man|woman|boy|girl|lady|gentleman|male|female)$|\btoo (?:\w+ ){1,3}to be\b",
            r"\blike (?:those of )?(?:a )?(?:mans|womans|girls|boys|ladys)$",
            r"\b(?:\w+er|same|opposite|different|both|first|new|own|true) (?:sex|gender)\b",
            rf"\bneither (?:a )?{_SOMEBODY}|\bdress\w* (?:up )?(?:like|as)\b",
            rf"{_SOMEBODY}.*\b(?:inside|nor|should|at heart|truly|once|at first)\b",
            rf"^(?:is|was) (?:the|this|that) {_WOMAN}.*\ba (?:man|male|boy)\b",
            rf"^(?:is|was) (?:the|this|that) {_MAN}.*\ba (?:woman|female|girl|lady)\b",
        ),
    ),
    "origin": (
        "ethnicity, race, nationality, descent or the colour of a skin",
        _rule(
            _words(
                "race races racial* racis* ethn* national* ancest* descent descend* origin* heritage foreign* migra* "
                "immigra* emigra* refugee* native* indigen* mixed biracial trib* countr* citizen* passport* born "
                "homeland* complexion* melanin slant* epicanth* afric* asia* europ* caucas* latin* hispan* arab* "
                "middle_east* oriental* slav* china chinese japan* india* turk* mexic* german* french english* russia* "
                "america* gyps* roma romani sinti negr* blacks whites nordic scandinav* mediterr* korea* hautfarb* "
                "herkunft woher auslander* rasse* peau noir piel raza de_donde d_ou_vient"
            ),
            r"(?<!nail )\bpolish\b|\bpeople of\b|\b(?:persons|mans|womans|his|her|their) background\b",
            # Where somebody comes from
            rf"\bwhere (?:\w+ ){{0,2}}{_HE}.*\bfrom\b|\bfrom where\b|\bwhere (?:it|this|that) (?:comes|came|is) from\b",
            rf"{_HE} (?:come |comes |came |is |are )?from (?!(?:the )?(?:side|front|behind|above|below|back|left|right)\b)",
            rf"{_HE} (?:come|comes|came) (?:here |in )?(?:by|on|over|across)\b|\b(?:over|across) the (?:sea|water)\b",
            r"^(?!.*\b(?:light|lit|sun|sunlight|shadow|window|wind)\b).*\b(?:north|south|east|west)",
            r"\b(?:north|south|east|west)ern",
            # The colour of a person, a skin or a part of the body
            rf"{_SOMEBODY} of colou?r\b|(?<!hair )\bcolou?rs? (?:is|are|has|of|does|do|describes?|fits?) {_THE}(?:\w+ )?{_HE}",
            r"\b(?:persons|mans|womans|faces|boys|girls|his|her|their|its) (?:own )?colou?rs?\b(?! of (?:hair|eye|beard|hat))",
            rf"\bcolou?rs? (?:of|are|is|do|does|has|have) (?:\w+ )?{_BODY}",
            rf"{_BODY} (?:\w+ )?{_SHADE_OF_SKIN}(?={_END}| or\b| and\b| than\b)",
            r"\bskin\w* (?:\w+ ){0,4}(?:colou?r|tones?|tint|type|kind|hue|shades?\b)",
            r"\b(?:colou?r|tone|tint|type|kind|sort|hue|shade) (?:\w+ ){0,5}skin",
            rf"{_SHADE} ?skin|\b(?:how|more|very|is|or|so) {_SHADE} (?:\w+ ){{0,3}}skin",
            rf"\bskin (?:\w+ ){{0,5}}{_SHADE}(?! shadow)|\b(?:how|more) {_SHADE} (?:\w+ ){{0,3}}{_SOMEBODY}$",
            r"\bfold\w* (?:\w+ ){0,3}inner|\binner (?:\w+ ){0,3}fold",
            r"\b(?:single|double|mono) ?(?:eye)?lid|\beyelids?\b.*\b(?:single|double)\b",
            *_of_a_person(_SHADE),
        ),
    ),
    "religion": (
        "religion or belief, or what is worn for it",
        _rule(
            _words(
                "religi* faith* belie[fv]* gods? atheis* agnost* musli* moslem* islam* christ* catholi* katholi* "
                "catoli* protestant* jew jews jewish judai* judi* hindu* sikh* buddh* orthodox* mormon* amish hijab* "
                "niqab* burq* burk* chador* kipp* yarmulk* turban* veil* habit rosar* bindi* tilak* crucif* cross "
                "crosses crescent* pray* church* mosque* synagog* priest* nun monk* imam* rabbi* pope bible koran quran "
                "holy cleric* kopftuch* foulard* voile glaubt glaube* musulm* mezquita head_scar* skull_cap*"
            ),
            r"\b(?:dot|mark|spot|point|stripe|line)s? .*\b(?:between|on|above|over)\b.*(?:eyes|brows?|forehead)\b",
            r"\b(?:scarf|scarves|shawl|cloth) (?:\w+ ){0,4}(?:head|hair)\b",
            r"\b(?:head|hair) (?:\w+ ){0,4}(?:scarf|scarves|shawl|cloth)\b",
            r"\b(?:small|little|tiny|round|flat) (?:\w+ ){0,2}cap (?:\w+ ){0,4}(?:back|top|crown)\b",
            # Whom, or what, something is covered for
            r"\b(?:cover|hid|conceal)\w* (?:\w+ ){0,2}(?:for|from|before|when) (?:the |other )?"
            r"(?:\w*men|boys|others|people|strangers)\b",
            r"\b(?:has|have|had|having) to (?:cover|wear|hide)\b",
            r"\bstar of\b|\bstars?\b.*\b(?:necklace|chain|pendant|neck|earrings?)\b",
            r"\b(?:necklace|chain|pendant|neck)\b.*\bstars?\b",
        ),
    ),
    "health": (
        "health, disability, pregnancy, substances or the state of a mind",
        _rule(
            _words(
                "health* unwell ill illness* sick* diseas* syndrom* disab* handicap* pregnan* disorder* medic* patient* "
                "symptom* diagnos* injur* wound* pain pains pained painful hurt* suffer* cancer* stroke* autis* "
                "dement* alzheim* schizo* bipolar adhd deaf* blind mute lame paraly* palsy epilep* fever* "
                "infect* virus* covid* diabet* obes* overweight underweight fat skinny mental* psych* trauma* surger* "
                "wheel_chair* crutch* prosthe* hearing eye_patch* cross_eye* bandage* scar scars acne alive dead dying "
                "drunk* intoxic* drug* addict* alcohol* sober stoned schwanger* krank* behinder* gesund* malade* "
                "enceinte embaraz* enferm* discapac* sante"
            ),
            r"\bdepress(?!or\b)\w*",  # the lip corner depressor is a muscle
            r"\bsurgical\b(?! masks?\b)|\bhigh on\b|\bwith child\b|\bbody\b.*\b(?:round|baby|child)\b",
            r"\b(?:expect|bear|carr)\w* (?:a |her )?(?:child|baby)\b",
            r"\b(?:have|having|get|getting|had) (?:a |any )?(?:child|baby|children|kids)\b",
            r"\b(?<!you )(?:see|sees|hear|hears) (?:with|well|without|through)\b",
            r"\bcan (?:he|she|they|the \w+) (?:\w+ )?(?:see|hear|speak|walk|stand|talk)\b",
            # Parts that are missing, or made by somebody
            r"\b(?:has|have) all (?:his|her|the|their)\b",
            rf"\bhow many {_PART} (?:do|does|did|has|have|had)\b|{_PART} (?:is |are )?gone\b",
            rf"{_PART} (?:is |are )?(?:made )?(?:of |from )?{_MADE}$|\b(?:with|has|have|an?|the|of) {_MADE} {_PART}",
            # What a colour or a size is a sign of
            r"\blips? (?:is |are |look |looks )?blue\b|\bwhites? of (?:\w+ )?eyes?\b",
            rf"\bpupils? .*{_SIGN}|{_SIGN} pupils?\b",
            r"\bspots? (?:\w+ ){0,3}(?:skin|face|cheeks?|forehead|arms?|neck|chest)\b",
            r"\bskin (?:is |look |looks )?(?:very |so )?(?:clear|good|bad|rough)\b",
            r"\b(?:red|black|brown|yellow|grey|dark|thin|tired|cold|shak\w+)\b.*\bfrom (?:\w+ )?"
            r"(?:drink|drinks|drinking|smoke|smoking|cigarettes?|cigars?|food)$|\bfor two$",
            r"\b(?:a|one) black eye\b|\bcuts? (?:\w+ )?(?:on|in|across) (?:the|his|her|their)\b",
            r"\beyes? .*\b(?:different|other|another) (?:way|direction)s?\b",
            r"\b(?:hair|brows?|eyebrows?|lashes|eyelashes) (?:is |are )?(?:gone|falling out)\b",
            r"\b(?:has|have|with|got) only one (?:eye|arm|leg|hand|ear)\b(?! (?:open|closed|visible))",
            r"\b(?:mouth|arm|leg|hand|eye|body|jaw)s? (?:is |are |looks? )?weak\b",
            r"\b(?:eat|drink|smoke|sleep|weigh)(?:s|ing)? (?:too|so|very|enough|much|little|less|more|a lot)\b",
        ),
    ),
    "politics": (
        "political opinion or membership",
        _rule(
            _words(
                "polit* vote votes voter* voted voting election* elected elector* party parties republican* democrat* "
                "conservativ* liberal* socialis* communis* marx* fascis* nazi* anarch* radical* activist* union "
                "unionist* trump putin left_wing* right_wing* far_left far_right extremis* ideolog* greens partei* "
                "wahlt partido* links_oder_rechts"
            ),
        ),
    ),
    "trust": (
        "honesty, lying, crime, danger or trustworthiness",
        _rule(
            _words(
                "liar* honest* dishonest* truth* truly trust* untrust* decei* decept* sincer* insincer* genuin* pretend* "
                "crim* thief* thiev* theft steal* stole* rob robs robber* robbed guilt* innocen* prison* jail* arrest* "
                "terror* danger* threat* violen* aggressi* suspic* suspect* hostil* intent* plan plans planning gang* "
                "murder* kill* cheat* fraud* sly evil harmless illegal* police* verbrech* krimin* delinc* voleur* "
                "ladron* lugt luegt lugner* ment mente menteur* miente"
            ),
            # Lying on a bed is a pose.
            r"\blying\b(?! (?:down|flat|asleep|under|beside|next to|across|face (?:down|up)|in (?:a |the )?(?:bed|snow|grass|"
            r"sand|water|sun|shade)|(?:on|against) (?:the|a|his|her|their|its) (?:\w+ )?(?:back|side|bed|floor|ground|table|"
            r"grass|sofa|couch|pillow|chair|face|front|shoulder|head|bench|arm|hand|beach|sand|blanket)))",
            r"\blie[sd]?\b(?! (?:down|flat|on|under|beside|next|across|in)\b)",
            r"\b(?:knife|anything|something|what|nothing) (?:\w+ ){0,3}in (?:the|his|her|their) (?:\w+ )?pockets?\b",
            r"\bhid(?:e|es|ing|den) (?:something|anything|nothing|it|a lot|much|\w+ from)\b",
            r"\bfak(?:e|ed|ing) (?:a )?(?:smile|laugh|cry|tear|emotion)",
            r"\b(?:real|true) (?:smile|emotion|tears|laugh|joy|expression)",
            rf"{_FEELING} (?:is |are |looks? )?(?:real|true|fake|natural|empty|put on)\b",
            rf"{_FEELING} (?:is |are )?(?:(?:only|just|put on|there) )*for\b",
            r"\bhold\w* (?:something|anything|nothing|it|a lot|much) back\b",
            r"\blook\w* (?:you|me|us|him|her|them|\w+one|\w+body) in the eyes?\b",
            rf"{_HE} (?:is |are )?(?:\w+ )?true\b|\btrue (?!of (?:the|this) (?:face|person|picture)\b|that\b|which\b)",
            r"\bbehind (?:the|this|that|his|her|their) (?:smile|expression|laugh|laughter|emotion|tears)\b",
        ),
    ),
    "character": (
        "intelligence, character, wealth, work or the way somebody lives",
        _rule(
            _words(
                "intellig* iq stupid* dumb* dumm* clever* genius* idiot* smart wise fool* educat* universit* student* "
                "teacher* doctor* school* personalit* character* introvert* extrovert* lazy diligent* ambitio* reliab* "
                "loyal* jobs? work works worker* working profession* occupation* employ* career* salary income* wealth* "
                "rich poverty homeless* married divorc* couple friends? klug* beruf*"
            ),
            rf"\b(?:kind|sort|type) of {_SOMEBODY}|\bdescribe {_THE}(?:\w+ )?{_HE}",
            r"\b(?:face|head|eyes?|mouth|smile|expression)s? (?:tells?|says?)\b|\bstands? for$",
            # What somebody does, or is, over more time than a picture shows
            r"\b(?:every|each|all) (?:day|night|morning|evening|time)s?\b|\ball the time\b",
            r"\bsle(?:ep|eps|eping|pt) (?:out )?(?:on|in|at|under) (?:the |a )?(?:streets?|roads?|park|bridge|station)\b",
            rf"^(?!.*(?:{_PICTURE}|\b(?:light|lit|lighting|quality|focus|contrast|resolution|exposure|view|visible)\b))"
            r".*\b(?:good|bad|poor|guys?)\b(?! moods?\b)",
            r"\b(?:clear|big|hard|hot|cool|good|strong|empty|thick) head\b|\bin (?:the|his|her|their) (?:head|heart|mind)\b",
            # What somebody would do, and what somebody thinks; "would you say" only asks.
            r"\bwould (?!you (?:say|call|rate|guess|describe|put)\b|you give this person$)|(?<!right to )(?<!do you )\bthink",
            *_of_a_person(_TRAIT),
            *_of_a_person(_TRAIT_OR_LIGHT, _words(_PERSON)),
        ),
    ),
    "identity": (
        "who somebody is, was or belongs to",
        _rule(
            _words(
                "whos whom whose name names named surname* nickname* identi[ft]* identical recogni[sz]* famous* "
                "celebrit* actor* actress* know knew known met familiar* verif* look_alike* twin twins brothers? "
                "sisters? siblings? mothers? fathers? parents? son sons daughters? cousins? famil* related relatives? "
                "wife husband written wrote spell* says reads? pictures photos photographs images videos films "
                "portraits selfies heisst quien se_llama s_?appelle nombre nom"
            ),
            r"(?<!a person )(?<!somebody )(?<!someone )\bwho\b|\bwho\b(?! (?:has|is|wears)\b)",
            r"(?<!you )\bsay\b(?! (?:if|whether|how|which)\b)",
            r"\bwer (?:ist|war|sind)\b|\bqui (?:est|sont)\b",
            rf"\bsame (?:{_SOMEBODY}|faces?\b|as\b)",
            r"\bfaces? (?:is )?(?:that )?(?:of )?the (?:first|second|third|last|other|same)\b",
            # Who is like whom, whose somebody is, and whom the asker has in mind
            r"\bi (?:look|looked|hold|held|want|need|like|wait|saw|have|had|met)\b",
            rf"\blook\w* (?:\w+ )?like (?:the|this|that) (?:\w+ )?{_SOMEBODY}",
            rf"\b(?:faces?|eyes|heads?) (?:\w+ )?of (?:one|a single) {_SOMEBODY}",
            rf"\b(?:has|have|got|gets?) (?:his|her|their|the|its) \w+ from\b|\b(?:his|her|their) (?:own )?{_CLOSE}",
            # Met again
            r"\bseen\b.*\b(?:before|already|earlier|again|elsewhere)\b",
            rf"{_HE} (?:from )?before$|\b(?:has|have|had)\b.*\bbefore$",
            rf"\b(?:other|another|previous|earlier|last|first|second|next|different) {_PICTURE}",
            r"(?<!away )(?<!hidden )(?<!turned )(?<!covered )"
            rf"\bfrom (?:the |a )?(?:{_PICTURE}|posters?\b|television\b|tv\b|news\w*|books?\b)(?! (?:left|right))",
            # Where somebody is, and what is written there
            r"\bfound (?:on|in|at|near|by|under|behind) (?!(?:this|the) (?:face|head|picture|image|photo)\b)",
            r"\bwhere\b.*\b(?:taken|building|house|street|town|city|lives?)\b",
            r"\b(?:what|which) (?:text|words|letters?|writing|number|logo|sign)\b",
            r"\b(?:phone|telephone|mobile|house|car) number|\blook\w* like \w+ \w+$",
        ),
    ),
}
"""Name of a rule, what it is about, and the pattern that a question breaks it by; the first one that matches is named."""


def _beside(one: str, other: str) -> str:
    """One within 30 characters of the other, in either order."""
    return rf"{one}.{{0,30}}{other}|{other}.{{0,30}}{one}"


_NOT_THE = r"(?<!\bthe )(?<!\bthis )(?<!\bthat )(?<!\bthese )(?<!\bthose )(?<!\bwhich )"
"""Of "the man" it is taken for granted that he is one; "a man" asks for it."""
_HAIR = _words("hair*")
_COLOUR = _words(
    "colou?r* black white brown blonde? dark* fair light ginger yellow blue green hazel gold* orange amber"
)
_SIZE = _words("big* wide* broad* flat* large* thick* full* thin* small* narrow* size shape*")
SENSITIVE_WORDS: Mapping[Sensitive, re.Pattern[str]] = {
    "sex": _rule(
        _NOT_THE + _words("mans? mens? womans? womens? boys? girls? ladys? ladies gentlem[ae]ns?"),
        rf"{_MAN} (?:or |and )?(?:the )?{_WOMAN}|{_WOMAN} (?:or |and )?(?:the )?{_MAN}",
        _words(
            "males? females? gender sex beard* mo?ustach* o_?clock_shadow goatee* sideburn* stubble shave* shaving "
            "unshave* make_up* made_up lipstick* mascara eyeliner eyeshadow blush* earrings? necklaces? ties? "
            "neck_?ties? bow_ties? dress dresses skirt* blouse* nail_polish"
        ),
        _beside(_words("brows? eye_brows?"), _words("arch* bush* thick* thin*")),
    ),
    "age": _rule(
        _NOT_THE + _words("childs? childrens? kids? babys? babies toddlers? infants? boys? girls?"),
        _words(r"age[ds]? hair_lines? old* young* years? adults? elderly seniors? teen* \d0s bald* reced* wrinkles"),
        r"\bbags? (?:\w+ ){0,2}eyes?\b|\b\d\d (?:to |and |or )?\d\d\b",
        r"\b(?:over|under|above|below|about|around|than|least|most) \d\d\b",
        _beside(_words("hair* beard*"), _words("gr[ae]y* white silver")),
    ),
    "skin": _rule(_words("rosy freckl*"), _beside(_words("cheeks?"), _words("red pink pale colou?r*"))),
    "origin": _rule(
        _words("blonde? ginger afro dreadlocks? curly curls curled"),
        _beside(_HAIR, _COLOUR.replace("|black", "|red|black")),
        _beside(_HAIR, _words("straight wavy waves curl* frizzy wool*")),
        _beside(_words("lips? nose"), _SIZE),
        _beside(_words("eyes"), _COLOUR),
        r"\bnarrow eyes\b|\beyes (?:are |so |very )*narrow\b",
    ),
    "beauty": _rule(
        _words("attractive* beaut* pretty handsome* ugly cute good_looking chubby double_chin* cheekbones?"),
        r"\bchin (?:\w+ )?double\b",
        _beside(_words("face"), _words("oval long shape*")),
        _beside(_words("nose"), _words("pointy pointed")),
    ),
}
"""By which words a question asks for what is sensitive; applied to the question and its answers together."""
