"""Simulated clouds: their paths, keys, tokens, signatures and versions, in front of the vendors.

door.py     one request through a cloud to the vendor behind it      state.py  keys, tokens, clocks
aws.py      signatures      google.py  tokens and paths               azure.py  keys and deployments
converse.py Bedrock's own wire, as a vendor

Written from the clouds' own documentation, and checked by their SDKs (`tests/clouds`).
"""

from polycall.sim.clouds.converse import Converse
from polycall.sim.clouds.door import ROOTS, CloudDoor
from polycall.sim.clouds.state import CloudState

__all__ = ["ROOTS", "CloudDoor", "CloudState", "Converse"]
