"""Recipes that make the shipped bundles: data, network, fit, measures, package."""
