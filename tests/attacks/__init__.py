"""What strangers, providers, programs and models can do to it, by the kind of attack."""
