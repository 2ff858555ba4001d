"""Variant v2: the label, every probability and what helps to debug."""
