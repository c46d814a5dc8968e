"""The reference bundles that ship with the product: one folder each."""
