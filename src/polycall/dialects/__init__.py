"""Wire formats, one folder each.  No IO, and no folder knows another."""
