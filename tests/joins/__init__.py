"""Where the parts of the library meet: each face with each feature."""
