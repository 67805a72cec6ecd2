"""Words that several surfaces use: numbers of things, and what is a valid input of a model."""


def counted(number: int, noun: str) -> str:
    """``1 scan``, ``2,000 scans``: a number with its noun, whose plural ends in s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


#: What to give a model, by the kind of values that it reads; what matters most stands between asterisks.  The page in
#: the browser has the same sentences (serve/web/src/model/valid-input.ts); a test compares them.
VALID_INPUT = {
    "mask": "Give it only a *segmented, cropped shape*: one structure, bright inside and 0 outside. "
    "A CT or an MR image is not a valid input.",
    "hu": "Give it a *CT crop in Hounsfield units* around the structure in question. "
    "MR, X-ray and segmented shapes are not valid inputs.",
    "relative": "Give it *a scan of the same kind as its training scans*, of MR for example: "
    "only how its values lie to each other matters.",
    "grey": "Give it an image of the same kind as its training images, *in grey values of 8 or 16 bits*.",
    "colour": "Give it *a colour image*.",
}
#: The same as a caveat of a model card: what it was trained on, and what follows.
TRAINED_ON = {
    "mask": "It was trained on the segmented, cropped shape of one structure: a binary mask, not CT or MR grey values. "
    "Only such a mask is a valid input; a raw scan gives a meaningless answer.",
    "hu": "It was trained on CT in Hounsfield units. Other modalities are no valid input, nor are scans without units.",
    "relative": "It was trained on values without a unit: only how the values of one scan lie to each other matters. "
    "Another modality or another field of view makes another input.",
    "grey": "It was trained on grey values as the dataset stores them. Another modality, window or preprocessing makes "
    "another input.",
}
