"""A25: images are named by digest, or stand in a list that can only become shorter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
# No registry was reachable where these files were written, so their digests are not known.  Whoever
# pins one of them takes it out of here, and it cannot lose its digest again.
BY_TAG = {
    "docker.io/library/python:3.13-slim",
    "nginx:1.29-alpine",
    "postgres:17-alpine",
    "valkey/valkey:8-alpine",
}
OURS = {"polycall", "polycall:0.1.0"}  # built from the container file
_NAMED = re.compile(
    r"^\s*(?:-\s*)?(?:image:|FROM|ARG \w+=|COPY --from=)\s*\"?([\w./-]+(?::[\w.-]+)?(?:@\S+?)?)\"?"
    r"(?:\s|$)",
    re.MULTILINE,
)
_DIGEST = re.compile(r"@sha256:([0-9a-f]{64})")


def images(text: str) -> set[str]:
    """The images that a container file, a Compose file or a manifest names."""
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))
    return {name for name in _NAMED.findall(text) if name not in stages} - OURS


def problems(text: str, by_tag: set[str]) -> list[str]:
    """What is wrong with how images are named."""
    found: list[str] = []
    for name in sorted(images(text)):
        digest = _DIGEST.search(name)
        if digest is None and name not in by_tag:
            found.append(f"{name} has no digest")
        elif digest is not None and len(set(digest[1])) < 8:
            found.append(f"{name} has a digest that nobody computed")
    return found


def test_a25_images_are_named_by_digest_or_listed() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", "") and path.is_file()]
    texts = {path.name: path.read_text("utf-8") for path in files}
    assert {name: each for name, text in texts.items() if (each := problems(text, BY_TAG))} == {}
    named = set().union(*(images(text) for text in texts.values()))
    assert named >= BY_TAG, "an image of the list has its digest now: take it out of the list"


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("    image: nginx:1.29-alpine@sha256:" + "0123456789abcdef" * 4, False),
        ("    image: nginx:1.29-alpine", True),
        ("    image: nginx:1.29-alpine@sha256:" + "0" * 64, True),
        ("    image: nginx@sha256:0123", True),
        ("    image: nginx", True),
        ('      - image: "docker.io/library/nginx:latest"', True),
        ("FROM debian:13-slim", True),
        ("FROM debian:13-slim AS build\nFROM build", True),
        ("ARG PYTHON=python:3.14-slim\nFROM ${PYTHON}", True),
        ("COPY --from=ghcr.io/some/tool:1 /tool /tool", True),
        ("    image: polycall", False),
    ],
)
def test_a25_an_image_without_its_digest_is_refused(line: str, is_refused: bool) -> None:
    assert bool(problems(line, set())) is is_refused
