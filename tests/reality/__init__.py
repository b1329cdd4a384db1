"""Models that are none of ours."""
