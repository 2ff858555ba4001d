"""Variant v1: the label and nothing else."""
