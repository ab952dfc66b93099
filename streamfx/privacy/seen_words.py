"""The words that a question to a model may consist of: what can be seen in a picture, and what holds a sentence together.

No word stands here that tells what cannot be seen of a person, and no name. Inflected forms are found by `is_known`.
"""

from __future__ import annotations

import re

_GLUE = """
is are was were be been being does do did has have had having can could may might the a an this that these those there
here it its he she they him her his hers them their theirs you itself himself herself themselves one ones any some no
not none nothing something anything someone somebody anyone anybody everyone nobody isnt arent doesnt dont hasnt
havent cant and or but nor if than as at in on of off to from by with without for into onto over under above below
behind beside besides between before after front near next around along across through toward towards away out up down
inside outside beneath beyond against about upon within apart together upward downward sideways ahead forward backward
upside straight back backs again come make made fall reach keep seem taken fill tip gap far close got gets get go goes
going like unlike once twice what which how where whether when while many much more most less least few fewer several
all both each every either neither half part partly partially wholly fully entirely completely mostly mainly slightly
somewhat very too quite almost nearly just only also even still yet well enough exactly roughly clearly barely hardly
fairly yes unclear uncertain unsure unknown cannot tell other others another else same different alike equal equally
zero two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety
first second third last single double pair number amount count level degree percent kind sort type style way form
state side sides end edge corner middle centre center top bottom rest thing things then now during moment per please
choose pick option answer following correct best describe fit match suit left right upper lower north south east west
big bigger small large larger little tiny huge long short tall high low wide narrow broad thick thin thinner deep flat
round square rectangular oval pointed pointy full empty heavy light strong weak hard soft bright dark dim warm cold
cool hot pale clear plain simple rough smooth dry wet clean dirty new whole good bad poor sharp slight tight neat tidy
messy bare black white red green blue yellow brown grey gray orange purple pink violet beige gold golden silver colour
color colours colors coloured colored colourful colorful multicoloured multicolored monochrome transparent bronze
cream turquoise maroon navy olive person people human man men woman women boy girl child children kid teen teenager
teenage adult baby toddler infant lady gentleman male female individual figure subject group crowd band range year b c
d e f g h i am me would say true think judging found rate strength muscle raiser wrinkler depressor puller stretcher
normal belong alone apparent guess estimate give gone such grown caught fair viewer who aged old older young younger
elderly senior age gender sex attractive beautiful pretty handsome ugly cute oclock
"""
GLUE = frozenset(_GLUE.split())
"""Words that alone say nothing of what is to be seen."""

_THINGS = """
face facial head forehead brow eyebrow eye eyelid lid pouch flushed eyelash lash eyeball pupil iris gaze nose nostril
cheek cheekbone mouth lip tongue tooth teeth gum jaw jawline chin ear earlobe neck throat nape shoulder collarbone
chest torso body arm elbow wrist hand palm fist finger thumb fingernail nail knuckle leg knee foot feet skin dimple
freckle wrinkle crease furrow bag tear sweat sweaty rosy chubby

expression emotion emotional feeling mood smile smiley grin smirk laugh laughter laughing giggle frown scowl grimace
pout sneer snarl glare stare glance cry weep sob yawn wink blink squint whistle scream shout yell sing talk speak
reading writing typing speaking breathe chew eat bite lick drink sip smoke swallow blow puff sigh happy happiness
happily sad sadness sadly angry anger angrily afraid fear fearful fearfully scared frightened terrified surprise
surprised surprisingly disgust disgusted disgustedly contempt contemptuous neutral calm calmly relaxed relax tense
tension serious cheerful joy joyful glad pleased amused amusement bored boredom tired sleepy drowsy asleep awake sleep
worried worry nervous anxious excited excitement confused confusion puzzled annoyed upset furious shocked shock
astonished amazed amazement proud embarrassed friendly interested attentive focused concentrated concentrate
thoughtful pensive hopeful disappointed frustrated stern startled intense intensity positive negative arousal valence

open close closed opened shut slit ajar raise raised lowered lift lifted pull pulled push pushed press pressed pursed
purse pucker stretch stretched stretching tighten parted drop dropped wrinkled crinkle crinkled furrowed puffed
squeezed squeeze bared clench clenched stick sticking protrude arched curved curl curled bend bent narrowed widen
widened flared flare twitch move moving movement motion action unit

hair haired hairy hairstyle hairline haircut fringe bangs ponytail pigtail braid braided plait bun curly wavy wave
lock dreadlock afro parting strand sideburn beard bearded stubble goatee moustache mustache shave shaven shaved
unshaven bald balding baldness bushy receding recede blond blonde ginger dyed dye highlight

glasses glass eyeglass eyeglasses spectacles sunglass sunglasses shades goggles lens lense frame rim rimless monocle
hat cap beanie helmet hood hooded visor beret bonnet headband hairband hairpin hairclip bow ribbon wig headphone
earphone earbud headset microphone mic mask masked surgical respirator shield scarf tie necktie bowtie collar shirt
tshirt blouse sweater jumper pullover hoodie jacket coat vest waistcoat dress skirt tank sleeve sleeveless glove
mitten uniform apron costume clothes clothing cloth garment outfit fabric button zip zipper pocket strap belt backpack
jewellery jewelry earring necklace chain pendant ring bracelet bangle watch wristwatch piercing stud brooch tattoo
tattooed makeup lipstick mascara eyeliner eyeshadow blush foundation powder paint painted glitter dressed wear worn
wearing wore put

phone telephone smartphone mobile cup mug bottle straw spoon fork food cigarette cigar pipe pen pencil book paper
newspaper sign ball toy doll balloon umbrella camera tablet laptop computer keyboard screen tool instrument guitar
flute trumpet violin piano flower leaf plant animal dog cat bird horse fish bear rabbit fruit apple banana icecream
bread sandwich cake lollipop toothbrush towel tissue handkerchief pillow blanket hold holding held touch touching
grasp carry carrying point pointing hug scratch rub wipe cover covered covering uncover uncovered hide hidden hiding
conceal concealed block blocked occlude occluded occlusion overlap

pose posed posture profile frontal turn turned turning rotate rotated rotation tilt tilted tilting lean leaning nod
nodding shake shaking angle direction direct directed averted sit sitting seated stand standing stood lie lying laid
kneel kneeling crouch walk walking run running jump jumping dance dancing ride riding swim swimming crossed folded
fold resting look looking looked see seen watching visible visibly invisible appear appearance show showing shown
distance far upright reclining recline

light lit lighting lighted backlit illuminate illuminated illumination shadow shadowed shade shaded sun sunlight
sunlit sunny lamp daylight flash glow reflect reflection reflected reflective shine shiny shining gloss glossy matte
evenly uneven unevenly brightness contrast exposure exposed overexposed underexposed saturated saturation silhouette
spotlight candle flame

picture image photo photograph photographed shot snapshot selfie portrait drawing drawn draw cartoon sketch painting
render rendered rendering video film footage quality resolution pixel pixelated sharpness sharply blur blurred blurry
blurriness focus unfocused noise noisy grain grainy artefact artifact compressed compression distort distorted
distortion crop cropped cut mirror mirrored view background foreground scene scenery pattern patterned stripe striped
check checked checkered dot dotted logo text letter word print printed

indoor indoors outdoor outdoors room wall window door floor ceiling ground table desk chair sofa couch bench bed shelf
curtain tree grass forest garden park street road path building house bridge car bus train bicycle bike boat beach sea
lake river water sand sky cloud cloudy rain raining rainy snow snowy fog foggy wind windy hill mountain field night
day dusk dawn weather fence stairs stage kitchen bathroom throw cast clown lopsided crooked symmetric symmetrical
asymmetric bookshelf bookcase brick stone concrete tile tiled ice clap applaud applause brush comb combed sneeze sniff
foam lather soap trim trimmed groomed gelled styled gesture pinch tap slap knock zoom zoomed waist hip ankle heel shoe
boot sandal sock trousers pants jeans shorts tights stocking sweatshirt tracksuit swimsuit bikini bathrobe pyjamas
raincoat poncho shawl cape cloak cardigan tuxedo jersey lapel cuff hem seam sequin bead gem feather badge medal pin
rope wire headgear headwear tiara helmeted hairnet shower earmuffs earplug faceshield snorkel diving eyepiece
binoculars telescope magnifier nosering stubbly whisker whiskered spot drip dripping splash bubble steam smoky dust
dusty mud muddy oil oily lotion sunscreen facepaint milk coffee tea juice soup noodle pasta rice pizza burger cheese
egg meat vegetable carrot tomato salad chocolate biscuit cookie candy chewing bubblegum spaghetti popcorn crisp berry
strawberry lemon grape plate bowl knife chopstick napkin tablecloth kettle jar carton tray basket box suitcase wallet
poster billboard calendar clock map whiteboard blackboard monitor television tv speaker radio printer cupboard
wardrobe drawer cushion carpet rug radiator fireplace vase lampshade chandelier blinds van truck lorry taxi seat
seatbelt steering windscreen dashboard motorbike motorcycle scooter ship airplane plane platform escalator elevator
corridor hall staircase roof balcony terrace porch gate post statue sculpture fountain stall shop market restaurant
cafe office classroom gym pool stadium pitch tennis football basketball racket bat net goal ski skate skateboard
surfboard swing slide sheep goat duck chicken elephant lion tiger monkey butterfly bee spider snail tulip sunflower
hedge lawn meadow branch trunk bark moss rock cave desert waterfall blowing freeze spit slurp gulp hiccup burp pant
inhale exhale hum lipsync mime cheer celebrate grit snort wrinkly pouty smiling beam beaming glum gloomy grumpy grim
sulky sulk delighted thrilled content unhappy miserable scornful irritated enraged alarmed horrified startle panic
panicked curious sceptical doubtful hesitant tearful tears watery puffy squinty occupied crowded cluttered busy
decorated solid camouflage floral zigzag spiral triangle circle star heart centred centered aligned horizontal
vertical diagonal parallel overhead eyelevel fisheye panorama landscape cutout composite collage watermark caption
subtitle timestamp letterbox border grayscale greyscale sepia tinted tint filter filtered hue hdr flicker flickering
interlaced banding blocky smear smeared whisper kiss crumb collarless rolled rolling bulge pierced stain stained
ghosting moire vignette halo lensflare haze hazy mist misty blown washed overlit underlit contact obstructed
unobstructed swimwear underwear standing posing wool woollen leather denim cotton silk metal metallic plastic wood
wooden fur furry lace faint loud tremble harsh baseball brace retainer polish vape doze prop screenshot frozen mohawk spike
spiky crown attention distracted happier sadder angrier calmer tenser
"""
THINGS = frozenset(_THINGS.split())
"""Words of what can be seen. A question needs one of them, or of what is sensitive."""

_ENDINGS = ("s", "es", "ed", "d", "ing", "ly")
_OF_DEGREE = ("er", "r", "est", "st")


def is_known(word: str) -> bool:
    """Whether a word in lower-case ASCII letters is among the two lists, itself or without an ending of English."""
    return tells_of_a_thing(word) or _without_endings(word, _ENDINGS + _OF_DEGREE, GLUE)


def tells_of_a_thing(word: str) -> bool:
    """Whether a word in lower-case ASCII letters is among `THINGS`, itself or without an ending of English."""
    # No degree here: it would make trades of what people do (paint, painter).
    return _without_endings(word, _ENDINGS, THINGS)


def _without_endings(word: str, endings: tuple[str, ...], words: frozenset[str]) -> bool:
    if word in words:
        return True
    for stem in (
        word.removesuffix(ending) for ending in endings if word.endswith(ending) and len(word) > len(ending) + 2
    ):
        # smiling and smile, bigger and big, cries and cry
        if words & {stem, f"{stem}e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem, re.sub("i$", "y", stem)}:
            return True
    return False
