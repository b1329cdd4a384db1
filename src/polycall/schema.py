"""JSON Schema for the subsets that vendors take, without changing what a schema means.

Pure functions on plain dictionaries; nothing here changes its input.
"""
