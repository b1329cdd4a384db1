"""Other gateways' configurations, turned into one of ours.

found.py      what was found in a file, what has no counterpart, and the TOML of both
litellm.py    LiteLLM's proxy configuration (YAML)
portkey.py    Portkey's configs (JSON)
"""
