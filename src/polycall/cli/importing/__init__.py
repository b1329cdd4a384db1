"""Other gateways' configurations, turned into one of ours.

found.py      what was found in a file: providers, aliases, settings, and what has no counterpart
litellm.py    LiteLLM's proxy configuration (YAML)
portkey.py    Portkey's configs (JSON)
writing.py    the TOML
"""
