"""The prediction service: one package, one entry point for each variant (v1, v2)."""
