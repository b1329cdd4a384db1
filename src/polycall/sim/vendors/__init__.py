"""One module or two for each vendor: what it takes, and how it answers."""
