"""What is in deploy/: files that pass their linters, and a rehearsal of the whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from polycall.config import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
YAML = ("compose.yaml", "kubernetes.yaml")


def run(name: str, *words: str | Path) -> str:
    """Run a linter of this environment, or of the system; what it says where it complains."""
    beside = Path(sys.executable).with_name(name)
    binary = str(beside) if beside.exists() else shutil.which(name)
    if binary is None:
        pytest.skip(f"{name} is not installed")
    ended = subprocess.run(
        [binary, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_the_container_file() -> None:
    assert (
        run("hadolint", "--no-color", "--failure-threshold", "style", DEPLOY / "Containerfile")
        == ""
    )


@pytest.mark.parametrize("name", YAML)
def test_yaml(name: str) -> None:
    assert run("yamllint", "--strict", "-c", DEPLOY / "yamllint.yaml", DEPLOY / name) == ""


def test_the_compose_file() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert run("check-jsonschema", *schema, DEPLOY / "compose.yaml") == ""


@pytest.mark.parametrize("version", ["1.30", pytest.param("1.33", marks=pytest.mark.slow), "1.37"])
def test_the_manifest(version: str) -> None:
    words = ("--strict", "--no-warn", "-k", version, DEPLOY / "kubernetes.yaml")
    assert run("kubernetes-validate", *words) == ""


def test_linters_do_complain(tmp_path: Path) -> None:
    # A linter that finds nothing to read is content with everything.
    broken = tmp_path / "broken.yaml"
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    broken.write_text(compose.replace("stop_grace_period:", "stop_grace:"), encoding="utf-8")
    assert "stop_grace" in run(
        "check-jsonschema", "--builtin-schema", "vendor.compose-spec", broken
    )
    manifest = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    broken.write_text(manifest.replace("containerPort:", "port:"), encoding="utf-8")
    assert "containerPort" in run("kubernetes-validate", "--strict", "-k", "1.33", broken)
    broken.write_text("FROM python:latest\nRUN cd /tmp\n", encoding="utf-8")
    assert "DL3007" in run("hadolint", "--no-color", broken)


def test_the_nginx_configuration(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from deploy.try_it import nginx_configuration

    path = nginx_configuration(tmp_path, 18080, [18081, 18082])
    assert run("nginx", "-t", "-q", "-c", path) == ""


def test_the_configuration_has_no_mistakes_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (DEPLOY / "polycall.toml").read_text(encoding="utf-8")
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    own = {"POLYCALL_STORE": "postgresql://x@y/z", "POLYCALL_COUNTERS": "redis://y:6379/0"}
    filled = {
        line[:-1]: "a-secret-of-some-length" for line in example.split() if line.endswith("=")
    }
    for name, value in {**filled, **own}.items():
        monkeypatch.setenv(name, value)
    config = load_config(DEPLOY / "polycall.toml")
    assert config.server.drain_s < 40  # the grace period of both manifests
    values = json.dumps(tomllib.loads(text))
    assert values.count("env:") == 6
    assert "a-secret" not in values


def test_both_manifests_name_every_variable_of_the_configuration() -> None:
    text = (DEPLOY / "polycall.toml").read_text(encoding="utf-8")
    names = {word.partition('"')[0] for word in text.split("env:")[1:]}
    for manifest in YAML:
        written = (DEPLOY / manifest).read_text(encoding="utf-8")
        assert [name for name in sorted(names) if name not in written] == []


def test_the_manifest_starts_the_gateway_with_the_configuration_that_it_mounts() -> None:
    manifest = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    folder = manifest.partition("- name: config\n")[2].partition("mountPath: ")[2].split()[0]
    assert f"args: [serve, --config, {folder}/polycall.toml]" in manifest
    image = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    compose = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    command = json.loads(image.partition("\nCMD ")[2])
    assert command[:2] == ["serve", "--config"]
    assert compose.count(f"./polycall.toml:{command[2]}:ro") == 2


@pytest.mark.slow
def test_a_replica_is_killed_under_load() -> None:
    if shutil.which("nginx") is None:
        pytest.skip("no nginx is installed (Debian: nginx-light)")
    sys.path.insert(0, str(ROOT))
    from deploy.try_it import try_it

    result = try_it(seconds=4.5)
    assert len(result.sent) > 200
    assert [one for one in result.failures if one not in result.in_flight] == []
    # It was a real kill, and the replica came back.
    assert 0 < len(result.failures) <= len(result.in_flight)
    assert any(one.began_at > result.back_at and not one.failure for one in result.sent)
    # The killed one's last rows may be lost: a quarter of a second, which is the batch's time.
    whole = len(result.sent) - len(result.failures)
    span = max(one.ended_at for one in result.sent) - min(one.began_at for one in result.sent)
    assert whole - result.rows <= whole / span * 0.6
