"""The Helm chart, linted and rendered by Helm itself, offline."""

from __future__ import annotations

import tomllib
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from polycall.config import Config, parse_config
from tests.gateway.test_deploy import run

helm: Any = pytest.importorskip("helm_python", reason="Helm's library is for Linux on x86-64")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm"
SECRETS = {
    "POLYCALL_STORE": "postgresql://x@y/z",
    "POLYCALL_COUNTERS": "redis://y:6379/0",
    "POLYCALL_SECRET": "a-secret-of-some-length",
}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/polycall", "digest": "sha256:" + "a" * 64},
    "replicas": 3,
    "server": {"workers": 4, "drainSeconds": 60, "settings": {"body_s": 30, "log": "debug"}},
    "store": {"countersKey": "", "whenDown": "serve", "ledgerDays": 30},
    "keys": [
        {"name": "operator", "secretKey": "key"},
        {
            "name": '팀 "one"',
            "secretKey": "team",
            "settings": {"budget_usd": 20, "models": ["fast"]},
        },
    ],
    "providers": {
        "anthropic": {"secretKey": "claude"},
        "openai": {"secretKey": None, "settings": {"api_key": "file:/run/secrets/openai"}},
        "house-llm": {
            "secretKey": "house",
            "settings": {
                "dialect": "openai-chat",
                "base_url": "https://llm.example/v1",
                "quirks": "vllm",
                "models": ["qwen3"],
            },
        },
    },
    "models": {"claude-haiku-*": ["house-llm/qwen3"], "fast": ["house-llm/qwen3"]},
    "sandbox": {
        "tier": "jail",
        "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
    },
    "extraConfig": "[limits]\noutput_tokens = 1000\n",
    "podDisruptionBudget": {"minAvailable": "50%"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "podAnnotations": {"team": "platform"},
}


def rendered(values: dict[str, Any], name: str = "polycall") -> dict[str, Any]:
    """The objects by their kinds."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="prod")
    found = [yaml.safe_load(text) for file, text in files.items() if file.endswith(".yaml")]
    return {each["kind"]: each for each in found if each}


def configuration(objects: dict[str, Any], folder: Path) -> Config:
    """What the gateway reads, with every variable of the pod set."""
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    names = {each["name"] for each in container["env"]}
    environment = {name: SECRETS.get(name, f"value-of-{name}") for name in names}
    text = objects["ConfigMap"]["data"]["polycall.toml"]
    return parse_config(text, folder=folder, environment=environment)


@pytest.mark.parametrize("values", [{}, EVERYTHING])
@pytest.mark.parametrize("version", ["v1.30.0", "v1.33.0", "v1.37.0"])
def test_helm_finds_nothing_to_complain_about(values: dict[str, Any], version: str) -> None:
    report = helm.lint(CHART, values, strict=True, kube_version=version)
    said = [each["error"] for each in report["messages"] if each["severity"] > 1]
    assert (report["total_charts_linted"], report["errors"], said) == (1, [], [])


@pytest.mark.parametrize("values", [{}, EVERYTHING])
def test_the_objects_are_valid(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(rendered(values).values()), encoding="utf-8")
    assert run("kubernetes-validate", "--strict", "--no-warn", "-k", "1.33", path) == ""


def without_names(value: Any) -> Any:
    """Without what is the chart's own: labels, a key's number, the pull policy."""
    match value:
        case dict():
            left = {"labels", "matchLabels", "annotations", "imagePullPolicy", "metadata"}
            items = cast("dict[str, Any]", value).items()
            return {key: without_names(each) for key, each in items if key not in left}
        case list():
            return [without_names(each) for each in cast("list[Any]", value)]
        case "POLYCALL_KEY_0":
            return "POLYCALL_KEY"
        case _:
            return value


def test_the_default_is_the_plain_manifest() -> None:
    """So both have the same security settings, probes, resources and command."""
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    plain = {each["kind"]: each for each in yaml.safe_load_all(text)}
    chart = rendered({})
    pods = [each["Deployment"]["spec"]["template"]["spec"] for each in (plain, chart)]
    for pod in pods:
        (container,) = pod["containers"]
        container["env"] = sorted(container["env"], key=itemgetter("name"))
    assert without_names(chart["Deployment"]) == without_names(plain["Deployment"])
    assert without_names(chart["PodDisruptionBudget"]) == without_names(
        plain["PodDisruptionBudget"]
    )
    service = without_names(chart["Service"])["spec"]
    assert {**without_names(plain["Service"])["spec"], "type": "ClusterIP"} | {"selector": ""} == {
        **service,
        "selector": "",
    }
    assert pods[1]["securityContext"]["runAsNonRoot"] is True


def test_the_default_configuration_is_that_of_the_other_manifests(tmp_path: Path) -> None:
    made = configuration(rendered({}), tmp_path)
    text = (ROOT / "deploy" / "polycall.toml").read_text(encoding="utf-8")
    names = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "POLYCALL_KEY"}
    environment = SECRETS | {name: f"value-of-{name}" for name in names}
    plain = parse_config(text, folder=tmp_path, environment=environment)
    assert (made.server, made.store, made.models) == (plain.server, plain.store, plain.models)
    assert made.provider_keys == plain.provider_keys
    assert [key.name for key in made.keys] == ["operator"]


def test_values_reach_the_configuration(tmp_path: Path) -> None:
    objects = rendered(EVERYTHING, name="gate")
    assert objects["Deployment"]["metadata"]["name"] == "gate-polycall"
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/polycall@sha256:" + "a" * 64
    assert pod["terminationGracePeriodSeconds"] == 75
    assert pod["securityContext"]["seccompProfile"]["localhostProfile"] == "p.json"
    values = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert "OPENAI_API_KEY" not in values
    assert "POLYCALL_COUNTERS" not in values
    reference = values["HOUSE_LLM_API_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "polycall", "key": "house"}
    secret = tmp_path / "openai"
    secret.write_text("sk-file")
    text = objects["ConfigMap"]["data"]["polycall.toml"].replace("/run/secrets", str(tmp_path))
    objects["ConfigMap"]["data"]["polycall.toml"] = text
    made = configuration(objects, tmp_path)
    assert (made.server.workers, made.server.drain_s, made.server.body_s) == (4, 60, 30)
    assert (made.store.when_down, made.store.ledger_days, made.store.counters) == ("serve", 30, "")
    assert made.programs.runtime == "jail"
    assert made.provider_keys["openai"] == ("sk-file",)
    assert made.providers["house-llm"].base_url == "https://llm.example/v1"
    assert [(key.name, key.models) for key in made.keys] == [
        ("operator", ()),
        ('팀 "one"', ("fast",)),
    ]
    assert made.limits.output_tokens == 1000
    assert list(made.models) == ["claude-haiku-*", "fast"]


NASTY = [
    'a"quote',
    "it's",
    "back\\slash",
    "two\nlines",
    "a tab\t",
    "{{ .Release.Name }}",
    "$(POLYCALL_SECRET)",
    "${POLYCALL_SECRET}",
    "]]",
    "# no comment",
    "한국어 😀",
    "\u2028\x85\x7f\x01",
    "<&>",
    "'''",
]


@pytest.mark.parametrize("text", NASTY)
def test_texts_are_data_wherever_they_stand(text: str, tmp_path: Path) -> None:
    values = {
        "providers": {
            "x": {
                "settings": {
                    "dialect": "openai-chat",
                    "base_url": "https://x.example/v1",
                    "models": [text],
                    "headers": {"x-note": text.strip("\n\t")},
                }
            }
        },
        "models": {text: ["x/" + text]},
        "podAnnotations": {"note": text},
        "image": {"repository": "r/" + text, "tag": "1"},
    }
    objects = rendered(values)
    raw = tomllib.loads(objects["ConfigMap"]["data"]["polycall.toml"])
    assert raw["providers"]["x"]["models"] == [text]
    assert raw["providers"]["x"]["headers"] == {"x-note": text.strip("\n\t")}
    assert raw["models"][text] == {"route": ["x/" + text]}
    template = objects["Deployment"]["spec"]["template"]
    if "\x01" not in text:  # of which Helm's own YAML has none
        assert template["metadata"]["annotations"]["note"] == text
    assert template["spec"]["containers"][0]["image"] == f"r/{text}:1"


def test_settings_may_have_tables_and_lists_of_them() -> None:
    nested: Any = {"a": [1, 2.5, {"b": True, "c": ["x"]}], "d": {"e": {}, "f": []}}
    settings: Any = {"capabilities": nested, "prices.m": {"input": 1.0}}
    objects = rendered({"providers": {"x": {"settings": settings}}})
    raw = tomllib.loads(objects["ConfigMap"]["data"]["polycall.toml"])
    assert raw["providers"]["x"] == {"capabilities": nested, "prices": {"m": {"input": 1}}}


def test_secrets_that_are_only_named_pass() -> None:
    headers = {"authorization": "Bearer env:TOKEN", "cookie": "", "x-api-key": "file:/run/k"}
    settings = {"api_keys": ["env:A", "cmd:get it"], "headers": headers}
    more = "[admin.openid]\nclient_secret = 'env:C'\n# key = nothing\n"
    objects = rendered({"providers": {"x": {"settings": settings}}, "extraConfig": more})
    raw = tomllib.loads(objects["ConfigMap"]["data"]["polycall.toml"])
    assert raw["providers"]["x"] == settings


def test_programs_can_be_turned_off(tmp_path: Path) -> None:
    objects = rendered({"sandbox": {"tier": "off"}})
    assert configuration(objects, tmp_path).programs.enabled is False


def test_a_changed_configuration_rolls_the_pods() -> None:
    sums = {
        rendered(values)["Deployment"]["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        for values in ({}, {"models": {"other": ["openai/gpt-5.4"]}}, {"replicas": 5})
    }
    assert len(sums) == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sandbox": {"tier": "jail"}}, "seccompProfile"),
        ({"sandbox": {"tier": "docker"}}, "tier"),
        ({"replcias": 3}, "replcias"),
        ({"replicas": 0}, "replicas"),
        ({"server": {"settings": {"port": 1}}}, "settings"),
        ({"providers": {"open ai": {"secretKey": "x"}}}, "open ai"),
        ({"models": {"fast": ["gpt-5.4"]}}, "models"),
        ({"image": {"repository": "x", "digest": "latest"}}, "digest"),
        # A secret is the key of one, and no value.
        ({"providers": {"openai": {"apiKey": "sk-1"}}}, "apiKey"),
        ({"keys": [{"name": "a", "key": "sk-1"}]}, "key"),
        ({"store": {"url": "postgresql://u:p@h/d"}}, "url"),
        ({"store": {"secretKey": "a secret of its own"}}, "secretKey"),
        ({"store": {"urlKey": "postgresql://u:p@h/d"}}, "urlKey"),
        ({"store": {"countersKey": "redis://:p@h/0"}}, "countersKey"),
        # Nor does one stand among the settings: they go into a ConfigMap.
        ({"providers": {"x": {"settings": {"api_key": "sk-1"}}}}, "api_key is written out"),
        ({"providers": {"x": {"settings": {"api_keys": ["env:A", "sk-1"]}}}}, "api_keys"),
        ({"providers": {"x": {"settings": {"headers": {"x-api-key": "s"}}}}}, "x-api-key"),
        ({"providers": {"x": {"settings": {"headers": {"Cookie": "s"}}}}}, "Cookie"),
        ({"providers": {"x": {"settings": {"base_url": "https://u:p@h"}}}}, "password in it"),
        ({"extraConfig": "[admin.openid]\nclient_secret = 'x'\n"}, "client_secret"),
        ({"extraConfig": '[[keys]]\n"key"="sk-1"\nname="a"\n'}, "key is written out"),
        ({"extraConfig": "[cache]\nurl = 'redis://:p@h/0'\n"}, "password in it"),
        ({"server": {"settings": {"x = 1\n[admin]\nremote": True}}}, "propertyName"),
        ({"providers": {"x": {"settings": {"a b": 1}}}}, "propertyName"),
        ({"providers": {"x": {"settings": {"api_key": None}}}}, "api_key"),
        ({"keys": [{"name": "a", "secretKey": "k", "settings": {"key": "env:A"}}]}, "settings"),
        ({"podAnnotations": {"a": 1}}, "podAnnotations"),
        ({"nodeSelector": {"a": True}}, "nodeSelector"),
        ({"stateSize": "1Gi\n          medium: Memory"}, "stateSize"),
        ({"podDisruptionBudget": {"minAvailable": "1\n  x: y"}}, "minAvailable"),
        # Each provider's key is in a variable of its own.
        (
            {"providers": {"a-b": {"secretKey": "one"}, "a_b": {"secretKey": "two"}}},
            "share the variable A_B_API_KEY",
        ),
        (
            {"providers": {"OpenAI": {"secretKey": "other"}}},
            "share the variable OPENAI_API_KEY",
        ),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        rendered(values)
    assert said in str(caught.value)
