"""Where a tier cannot run, the doctor says why, `auto` falls back, and nothing runs unprotected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from polycall.cli import main
from polycall.sandbox import (
    RuntimeUnavailableError,
    Sandbox,
    bwrap,
    cgroups,
    checks,
    monty_pool,
)
from polycall.sandbox.checks import examine

from .support import command_as_nobody, readable, run_python, usable


@pytest.fixture
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "_SYSTEM_FOLDERS", "/nowhere")
    monkeypatch.setattr(bwrap, "_WHEEL_MODULE", "no_such_module")


@pytest.fixture
def without_monty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monty_pool, "VERSION", "0.0.0")


async def test_auto_prefers_the_jail():
    await usable("jail")
    async with Sandbox(pool=0) as sandbox:
        assert sandbox.tier == "jail"
        assert sandbox.notes == ""


async def test_without_bubblewrap_auto_falls_back_and_says_why(without_bubblewrap: None):
    await usable("monty")
    async with Sandbox(pool=0) as sandbox, sandbox.session() as session:
        assert sandbox.tier == "monty"
        assert [(f.tier, f.available) for f in sandbox.findings] == [
            ("jail", False),
            ("monty", True),
        ]
        assert "bubblewrap is not installed; install it with" in sandbox.findings[0].detail
        assert "no class inheritance" in sandbox.notes
        assert (await session.run("1 + 1")).value == 2


async def test_without_any_tier_nothing_runs(without_bubblewrap: None, without_monty: None):
    with pytest.raises(RuntimeUnavailableError, match="nothing can run programs here"):
        await Sandbox().__aenter__()
    checks = {check.name: check for check in await examine()}
    assert checks["sandbox: auto"].state == "fail"
    assert "needs version 0.0.0 of all of pydantic-monty" in checks["sandbox: tier monty"].detail


async def test_a_tier_that_was_asked_for_is_not_replaced(without_bubblewrap: None):
    with pytest.raises(RuntimeUnavailableError, match="jail: bubblewrap is not installed"):
        await Sandbox("jail").__aenter__()


async def test_nor_is_monty_where_it_was_asked_for(without_monty: None):
    with pytest.raises(RuntimeUnavailableError, match="monty: needs version"):
        await Sandbox("monty").__aenter__()


async def test_packages_are_not_dropped_for_a_tier_that_has_none(
    without_bubblewrap: None, tmp_path: Path
):
    with pytest.raises(RuntimeUnavailableError, match="jail: "):
        await Sandbox("auto", packages=[tmp_path]).__aenter__()
    with pytest.raises(RuntimeUnavailableError, match="packages need the tier 'jail'"):
        await Sandbox("monty", packages=[tmp_path]).__aenter__()


async def test_a_bubblewrap_that_does_not_run_is_named(tmp_path: Path):
    with pytest.raises(RuntimeUnavailableError, match="/nowhere/bwrap does not run"):
        await Sandbox("jail", bwrap="/nowhere/bwrap").__aenter__()
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.3.1 --seccomp --info-fd\n")
    old.chmod(0o755)
    with pytest.raises(RuntimeUnavailableError, match="0.3.1 --seccomp --info-fd, which lacks"):
        await Sandbox("jail", bwrap=old).__aenter__()


async def test_the_wheel_takes_the_place_of_the_systems(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bwrap, "_SYSTEM_FOLDERS", "/nowhere")
    found = bwrap.find()
    if isinstance(found, str):
        pytest.skip(found)
    assert found.origin == "wheel"
    await usable("jail")
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        assert (await session.run("2 + 2")).value == 4


async def test_an_unknown_tier_is_refused():
    with pytest.raises(ValueError, match="no tier 'docker'"):
        await Sandbox("docker").__aenter__()  # pyright: ignore[reportArgumentType]


async def test_user_namespaces_refused_by_the_kernel():
    """In a user namespace that allows no further ones, as an ordinary user."""
    await usable("monty")
    *become, python = command_as_nobody()
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all "
        f"--inh-caps=-all {python} -c 'from polycall.cli import main; "
        'import sys; sys.exit(main(["doctor", "--json"]))\''
    )
    refused = ["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", script]
    status, out, errors = await run_python([*become, *refused], HOME="/")
    if "max_user_namespaces" in errors:
        pytest.skip(f"cannot make such a namespace here: {errors}")
    assert status == 0, errors
    checks = {check["name"]: check for check in json.loads(out)}
    assert checks["sandbox: tier jail"]["state"] == "warn"
    assert "allow user namespaces" in checks["sandbox: tier jail"]["detail"]
    assert checks["sandbox: user namespaces"]["detail"] == (
        "may be refused by user.max_user_namespaces"
    )
    assert checks["sandbox: auto"]["detail"].startswith("monty: ")


def test_doctor_prints_and_fails_with_its_checks(
    capsys: pytest.CaptureFixture[str], without_bubblewrap: None, without_monty: None
):
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "warn  sandbox: bubblewrap " in out
    assert "FAIL  sandbox: auto " in out


def test_run_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "shop_tools.py").write_text("async def price(item):\n    return len(item)\n")
    (tmp_path / "program.py").write_text("print(await price('tea'))\n{'all': 3}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["run-code", "program.py", "--tools", "shop_tools:price"]
    if main(["doctor"]) != 0:
        pytest.skip("no tier here")
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out == '3\n{\n "all": 3\n}\n'
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == {"all": 3}
    (tmp_path / "program.py").write_text("await price('tea')\n1 / 0")
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "failed: ZeroDivisionError: division by zero; calls made: price (ok)" in errors
    assert main(["run-code", "program.py", "--tools", "shop_tools:missing"]) == 1
    assert "has no functions called 'missing'" in capsys.readouterr().err
    assert main(["run-code", "no_such.py"]) == 1


def test_root_is_refused_inside():
    if os.geteuid() != 0:
        pytest.skip("only root can try to run as root")
    from polycall.sandbox.inside import lockdown

    with pytest.raises(PermissionError, match="will not run as root"):
        lockdown.refuse_root()


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_n17_what_tests_need_is_where_everybody_can_read_it(tmp_path: Path, mode: int):
    *become, _ = command_as_nobody()
    clone = tmp_path / "clone"
    (clone / "tests" / "inner").mkdir(parents=True)
    (clone / "tests" / "inner" / "file.py").write_text("x = 1\n")
    (clone / "tests" / "secret.py").write_text("y = 2\n")
    (clone / "tests" / "secret.py").chmod(0o600)
    clone.chmod(mode)
    found = readable(clone / "tests")
    for name in ("inner/file.py", "secret.py"):
        if name == "secret.py" and found == clone / "tests":
            continue
        done = subprocess.run(
            [*become, "cat", str(found / name)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["all private", "a link", "a word with a space"])
def test_n17_private_clones_of_other_kinds_are_read_by_everybody(tmp_path: Path, kind: str):
    *become, _ = command_as_nobody()
    clone = tmp_path / ("내 집 clone" if kind == "a word with a space" else "clone")
    (clone / "tests" / "inner").mkdir(parents=True)
    (clone / "tests" / "inner" / "file.py").write_text("x = 1\n")
    if kind == "all private":
        # As a clone is under `umask 077`.
        for each in [clone, *clone.rglob("*")]:
            each.chmod(0o700 if each.is_dir() else 0o600)
    clone.chmod(0o700)
    asked = clone / "tests"
    if kind == "a link":
        (tmp_path / "open").mkdir()
        asked = tmp_path / "open" / "tests"
        asked.symlink_to(clone / "tests")
    made = readable(asked) / "inner" / "file.py"
    done = subprocess.run([*become, "cat", str(made)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "x = 1\n"), done.stderr


@pytest.mark.parametrize(
    ("memory", "pids", "state"),
    [(True, True, "ok"), (True, False, "ok"), (False, True, "ok"), (False, False, "warn")],
)
def test_one_kind_of_control_group_is_enough(
    monkeypatch: pytest.MonkeyPatch, memory: bool, pids: bool, state: str
) -> None:
    folders = {"memory": Path("/m") if memory else None, "pids": Path("/p") if pids else None}
    found = replace(cgroups.probe(), **folders)
    monkeypatch.setattr(cgroups, "probe", lambda: found)
    check = checks._cgroups()  # pyright: ignore[reportPrivateUsage]
    assert check.state == state
    assert ("rlimits" in check.detail) == (state == "warn")
