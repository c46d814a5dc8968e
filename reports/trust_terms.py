"""What checks of heat maps say, for the catalogues: see explain.verdict and workers.trust."""

from reports.language import N_

TERMS = (
    N_("Overlap with the outline"),
    N_("Centre of the map's place in the outline"),
    N_("Certainty of the outline"),
    N_("Fall of the score without the outline"),
    N_("Fall of the score without the map's places"),
    N_("Stability when the image is moved"),
    N_("Agreement with the usual place"),
    N_("Evidence outside of the patient"),
    N_("Evidence at the border"),
    N_("Spread of the evidence"),
    N_("Distance from the training images"),
    N_("Chance that the map is right"),
    N_("Deletion area"),
    N_("Insertion area"),
    N_("Faithfulness correlation"),
    N_("Stability to noise, by rank"),
    N_("Stability to noise, by structure"),
    N_("Stability to movement, by structure"),
    N_("Agreement with occlusion"),
    N_("Completeness error"),
    N_("part of the heat map's evidence on the key slice that lies inside what the model outlined"),
    N_("overlap of the hottest part of the map, of equal area, with what the model outlined"),
    N_(
        "1: the centre of the place that the map names lies in what the model outlined; 0: it does "
        "not"
    ),
    N_("probability of what the model outlines, where the heat map's evidence lies"),
    N_(
        "part of the score above the operating point that goes when what the model "
        "outlined is removed from the image"
    ),
    N_(
        "part of the score above the operating point that goes when all places that the map "
        "shows strongly are removed from the image"
    ),
    N_("agreement (rank correlation) with the map of the image moved by four pixels"),
    N_(
        "how often the training cases had such a finding where the evidence lies, against "
        "their most frequent place"
    ),
    N_("part of the evidence that lies outside of the patient: in air, padding or writing"),
    N_("part of the evidence that lies at the border of the image"),
    N_("part of the image over which the evidence is spread"),
    N_(
        "distance of the key slice from the images that the model was trained on; above 1 "
        "it is outside of them"
    ),
    N_("chance that the map names the right place, as maps of test cases with such numbers did"),
    N_("likeness to the map of the same image with a little noise; 1 is the same"),
    N_("rank correlation with the map of the same image with a little noise"),
    N_("likeness to the map of the image moved by four pixels; 1 is the same"),
    N_("mean score while the hottest pixels are removed first; near 0 is good"),
    N_("mean score while the hottest pixels come in first; near 1 is good"),
    N_(
        "correlation between the evidence in parts of the image and the fall of the score "
        "without them"
    ),
    N_(
        "correlation with the map of another method, which covers one part of the image "
        "after the other"
    ),
    N_(
        "part of the number that goes when all places that the map shows strongly are removed "
        "from the image"
    ),
    N_(
        "part of the score's difference from the blurred image that the map does not add up "
        "to; near 0 is good"
    ),
    N_("Much of the map's evidence lies outside of what the model itself outlined."),
    N_("The hottest part of the map is not what the model itself outlined."),
    N_("The model itself is not sure of its outline where the map's evidence lies."),
    N_("The score stays high without what the model outlined: something else drives it."),
    N_(
        "The score stays high without the places that the map shows strongly: the map misses what "
        "drives it."
    ),
    N_("The map changes when the image is moved by a few pixels."),
    N_("The map names a place where the training cases had no such finding."),
    N_("Evidence lies outside of the patient: in air, padding or writing."),
    N_("Evidence lies at the border of the image."),
    N_("The evidence is spread over much of the image."),
    N_("The image is outside of what this model was trained on."),
    N_("Its checks came out as they do for maps of test cases that name the right place."),
    N_("No single check failed; together they are weaker than those of maps that are right."),
    N_(
        "In its test, the maps of this model did not beat a map that always names the "
        "same place: none of them is evidence."
    ),
    N_("This model came without a test of its maps on cases with known places."),
    N_(
        "The maps of this model passed their test as a whole; it gave no measure by which to judge "
        "a single one."
    ),
    N_("The finding is absent: there is no place to check."),
    N_("The map holds no evidence: look at the whole image."),
    N_("The map's evidence is too faint to name a place: look at the whole image."),
    N_("present only"),
    N_("absent only"),
    N_("present or absent"),
    N_("neither: such a probability is rare"),
    N_("what the model outlined"),
    N_("the place that the map names"),
    N_("all places that the map shows strongly"),
)
TEMPLATES = (
    N_("Left out, for the time given to checks was spent: {}."),
    N_("{} / {}"),
    N_(
        "Without {}, the probability on this slice falls from {} to {}: the finding would "
        "not be reported."
    ),
    N_(
        "Without {}, the probability on this slice is {}, and was {}: something else in "
        "the image keeps it up."
    ),
    N_(
        "Without {} on this image alone, the probability falls from {} to {}: the finding "
        "would not be reported."
    ),
    N_(
        "Without {} on this image alone, the probability is {}, and was {}: the rest of "
        "the images keeps it up."
    ),
    N_("Without {}, the number on this slice is {}, and was {}."),
    N_("Without {} on this image alone, the number is {}, and was {}."),
    N_(
        "Without {}, the certainty of the outline on this slice falls from {} to {}: it would not "
        "be outlined."
    ),
    N_(
        "Without {}, the certainty of the outline on this slice is {}, and was {}: something else "
        "in the image keeps it up."
    ),
    N_(
        "Without {} on this image alone, the certainty of the outline falls from {} to {}: it "
        "would not be outlined."
    ),
    N_(
        "Without {} on this image alone, the certainty of the outline is {}, and was {}: the rest "
        "of the images keeps it up."
    ),
    N_("At a coverage of {}, the probability leaves open: {}."),
    N_("Moved and noisy copies of the key slice get probabilities from {} to {}."),
    N_("Noisy copies of the key slice get probabilities from {} to {}."),
)
"""With blanks for what differs."""
