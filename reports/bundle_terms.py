"""What the bundles that are shipped call things, for the catalogues: code meanings and labels."""

from reports.language import N_

TERMS = (
    # findings, sites and categories
    N_("Intracranial meningioma"),
    N_("Meningioma"),
    N_("Glioma"),
    N_("Neoplasm of pituitary gland"),
    N_("Pituitary tumour"),
    N_("Pituitary gland"),
    N_("Tumour"),
    N_("Morphologically Abnormal Structure"),
    N_("Anatomical Structure"),
    N_("Physical object"),
    # test objects
    N_("Phantom"),
    N_("Insert"),
    N_("Disc insert"),
    N_("Ring insert"),
    N_("Square insert"),
    N_("Sphere insert"),
    N_("Star insert"),
    N_("Disc"),
    N_("Ring"),
    N_("Square"),
    N_("Sphere"),
    N_("Star"),
    # what is measured or made
    N_("Diameter"),
    N_("Smoothing"),
    N_("AI denoised"),
    N_("Derived image"),
    N_("Root mean square change"),
    # features (IBSI)
    N_("Area"),
    N_("Major axis length"),
    N_("Minor axis length"),
    N_("Elongation"),
    N_("Area density (convex hull)"),
    N_("Mean intensity"),
    N_("Intensity variance"),
    N_("Intensity skewness"),
    N_("Excess intensity kurtosis"),
    N_("10th intensity percentile"),
    N_("90th intensity percentile"),
    N_("Contrast (co-occurrence)"),
    N_("Dissimilarity (co-occurrence)"),
    N_("Inverse difference moment"),
    N_("Angular second moment"),
    N_("Correlation (co-occurrence)"),
)
