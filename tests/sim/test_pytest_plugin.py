"""The plugin as another project meets it: pytest in a process of its own, the vendors' SDKs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "sim.md"
EXAMPLE = """
import pytest
from anthropic import Anthropic
from google import genai
from openai import APIStatusError, OpenAI

from polycall.sim import Turn

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(vendor, model):
    with OpenAI(base_url=vendor.base_url, api_key=vendor.api_key, max_retries=0) as client:
        answer = client.chat.completions.create(model=model, messages=MESSAGES)
        return answer.choices[0].message.content


@pytest.mark.parametrize("name", ["sim_openai", "sim_deepseek", "sim_compatible"])
def test_each_server_of_the_chat_format(request, name):
    vendor = request.getfixturevalue(name)
    vendor.script("mine", [Turn("first"), Turn("second")])
    assert chat(vendor, "mine") == "first"
    assert vendor.remaining("mine") == 1
    assert [each.body["model"] for each in vendor.requests] == ["mine"]


def test_requests_are_those_of_this_test_and_vendor(sim_openai, sim_deepseek):
    assert sim_openai.requests == []
    sim_openai.script("mine", [Turn("x")])
    chat(sim_openai, "mine")
    assert (len(sim_openai.requests), sim_deepseek.requests) == (1, [])


def test_more_requests_than_turns_are_an_error(sim_openai):
    sim_openai.script("short", [])
    with pytest.raises(APIStatusError):
        chat(sim_openai, "short")


def test_sdks_without_arguments(sim_environment, sim_openai, sim_anthropic, sim_google):
    for vendor in (sim_openai, sim_anthropic, sim_google):
        vendor.script("mine", [Turn(f"from {vendor.vendor}")])
    with OpenAI() as openai, Anthropic() as anthropic:
        said = openai.responses.create(model="mine", input="hi").output_text
        assert said == "from openai"
        said = anthropic.messages.create(model="mine", max_tokens=99, messages=MESSAGES)
        assert said.content[0].text == "from anthropic"
    google = genai.Client()
    said = google.models.generate_content(model="mine", contents="hi")
    google.close()
    assert said.text == "from google"
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_project_uses_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["polycall.sim.pytest_plugin"]\n')
    (tmp_path / "test_example.py").write_text(EXAMPLE, encoding="utf-8")
    done = run_pytest(tmp_path)
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8").split("## Fixtures of pytest", 1)[1]
    conftest, test = re.findall(r"^```py\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:2]
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_page.py").write_text(test, encoding="utf-8")
    (tmp_path / "my_agent.py").write_text(
        "from anthropic import Anthropic\n\n\n"
        "def ask(question):\n"
        "    with Anthropic() as client:\n"
        "        messages = [{'role': 'user', 'content': question}]\n"
        "        answer = client.messages.create(\n"
        "            model='claude-test', max_tokens=99, messages=messages)\n"
        "        return answer.content[0].text\n"
    )
    done = run_pytest(tmp_path)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


def test_the_day_and_the_seed_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\npolycall_sim_as_of = yesterday\n")
    (tmp_path / "test_day.py").write_text("def test_day(simulation): ...\n")
    done = run_pytest(tmp_path, "-p", "polycall.sim.pytest_plugin")
    assert "Invalid isoformat string: 'yesterday'" in done.stdout


def test_nothing_loads_the_plugin_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_off.py").write_text("def test_off(sim_openai): ...\n")
    done = run_pytest(tmp_path)
    assert "fixture 'sim_openai' not found" in done.stdout
