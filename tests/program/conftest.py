from __future__ import annotations

from tests.sandbox.conftest import jail

__all__ = ["jail"]
