"""The recipe of the reference bundle ``brain-mr-tumour``: contrast T1 slices in, a bundle out."""
