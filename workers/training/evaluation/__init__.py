"""How good a bundle is on a data set: what it says of each case, figures of it, and one page."""
