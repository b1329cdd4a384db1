"""The code that runs inside the jail: a package of its own that needs the standard library only.

The host mounts this folder into the jail and starts `python -m inside`.  Nothing here may import
from the rest of polycall, and nothing here is trusted by the host: the program that a model wrote
shares this process and may change any of it.
"""
