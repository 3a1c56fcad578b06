"""The Helm chart and the compose file: rendered by Helm, checked against the schemas, and by what demur itself says."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from conftest import missing, needed
from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.gateway.ledger.ledger import LAST_TRIES_SECONDS
from demur.gateway.settings import GatewaySettings, read_settings
from gateways import EASY, HARD, gateway
from replicas import free_port

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART, COMPOSE = DEPLOY / "helm" / "demur", DEPLOY / "compose"
IMAGE = f"registry.example/demur@sha256:{'0' * 64}"
CLAIM = {"image": IMAGE, "router.claim": "routers"}
EVERYTHING = CLAIM | {
    **{"autoscaling.enabled": "true", "autoscaling.inFlight": "20", "networkPolicy.enabled": "true"},
    **{"serviceMonitor.enabled": "true", "clientKeys": "demur-keys", "cacheClaim": "encoders"},
    **{"networkPolicy.operatorFrom[0].podSelector.matchLabels.app": "prometheus"},
}
NOUGHT = {  # what must not happen in a test that goes well, and what is over when Prometheus looks
    *("demur_unknown_total", "demur_ledger_failures_total", "demur_ledger_dropped_total", "demur_changes_total"),
    *("demur_in_flight", "demur_cost_spared_usd_total"),
}
IMAGE_VOLUME = {"image": IMAGE, "router.image": "registry.example/router:7"}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(name)
    return found or name


def helm(*command: str, **values: str) -> subprocess.CompletedProcess[str]:
    given = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return subprocess.run([tool("helm"), *command, *given], capture_output=True, text=True, check=False)


def render(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The rendered objects, by kind and name."""
    done = helm("template", "web", str(CHART), **values)
    assert done.returncode == 0, done.stderr
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout) if one}


def container(objects: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = objects["Deployment/web"]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


@pytest.mark.parametrize("values", [CLAIM, EVERYTHING, IMAGE_VOLUME])
def test_the_chart_is_what_kubernetes_takes(values: dict[str, str]) -> None:
    validate = needed("kubernetes_validate").validate
    lint = helm("lint", "--strict", str(CHART), **values)
    assert lint.returncode == 0, lint.stdout
    for one in render(values).values():
        if one["kind"] != "ServiceMonitor":  # of Prometheus' operator
            validate(one, "1.37", strict=True)


def test_the_chart_has_what_is_asked_for_and_no_more() -> None:
    least = {"ConfigMap/web", "Deployment/web", "Service/web", "Service/web-operator", "PodDisruptionBudget/web"}
    assert set(render(CLAIM)) == least
    more = {"HorizontalPodAutoscaler/web", "NetworkPolicy/web", "ServiceMonitor/web"}
    assert set(render(EVERYTHING)) == least | more


def test_the_charts_settings_are_demurs(tmp_path: Path) -> None:
    settings = 'default = "weak"\n[weak]\nmodel = "small"\nbase_url = "http://gpu:8000/v1"'
    file, values = tmp_path / "values.yaml", tmp_path / "gateway.toml"
    file.write_text(yaml.safe_dump({"settings": settings}))
    done = helm("template", "web", str(CHART), "-f", str(file), **(EVERYTHING | {"drainSeconds": "40"}))
    objects = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    values.write_text(objects["ConfigMap"]["data"]["gateway.toml"])
    found = read_settings(values)
    assert found.weak is not None
    assert (found.host, found.port, found.default, found.weak.model) == ("0.0.0.0", 8111, "weak", "small")
    assert (found.router, found.keys, found.drain_seconds) == ("/router/current", "/etc/demur-keys/keys.json", 40.0)
    assert found.operator_port(found.port) == 9111
    assert found.ledger == "postgresql://demur@postgres:5432/demur"  # without a password
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    ending = found.notice_seconds + found.drain_seconds + 3 * LAST_TRIES_SECONDS + 10
    assert pod["terminationGracePeriodSeconds"] >= ending
    mounts = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounts["/router"] == "router"
    assert mounts["/etc/demur-keys"] == "client-keys"


def test_the_values_that_the_page_shows_are_rendered(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "deploy.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    file, settings = tmp_path / "values.yaml", tmp_path / "gateway.toml"
    file.write_text(shown.replace("sha256:...", f"sha256:{'0' * 64}"))
    done = helm("template", "web", str(CHART), "-f", str(file))
    assert done.returncode == 0, done.stderr
    objects = {f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout)}
    settings.write_text(objects["ConfigMap/web"]["data"]["gateway.toml"])
    found = read_settings(settings)
    assert found.strong is not None
    _, one = container(objects)
    assert found.strong.api_key_env in {env["name"] for env in one["env"]}


def test_pods_may_write_nothing_but_their_volumes_and_hold_secrets_by_reference() -> None:
    objects = render(EVERYTHING)
    pod, one = container(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    recipe = (DEPLOY / "Containerfile").read_text()  # a name alone does not show that it is not root
    assert (
        f"--uid {pod['securityContext']['runAsUser']} demur" in recipe
    )  # a name alone does not show that it is not root
    given = [env for env in one["env"] if "value" in env]
    assert [env["name"] for env in given] == ["XDG_STATE_HOME"]
    assert {env["name"] for env in one["env"] if "valueFrom" in env} == {"DEMUR_ADMIN_KEY", "PGPASSWORD"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["router"]["persistentVolumeClaim"] == {"claimName": "routers", "readOnly": True}
    image_pod, _ = container(render(IMAGE_VOLUME))
    assert next(v for v in image_pod["volumes"] if v["name"] == "router")["image"]["reference"] == (
        "registry.example/router:7"
    )


def test_it_scales_by_a_metric_that_is_there_and_by_cpu_without() -> None:
    def measures(values: dict[str, str]) -> list[Any]:
        return list(render(values)["HorizontalPodAutoscaler/web"]["spec"]["metrics"])

    both = measures(EVERYTHING)
    assert [one["type"] for one in both] == ["Resource", "Pods"]
    assert both[1]["pods"]["metric"]["name"] in names_of_metrics()
    assert [one["type"] for one in measures(EVERYTHING | {"autoscaling.inFlight": "0"})] == ["Resource"]
    assert "replicas" not in render(EVERYTHING)["Deployment/web"]["spec"]  # Helm would take back what was scaled
    assert render(CLAIM)["Deployment/web"]["spec"]["replicas"] == 3


def test_services_and_monitors_select_the_pods() -> None:
    objects = render(EVERYTHING)
    labels = objects["Deployment/web"]["spec"]["template"]["metadata"]["labels"].items()
    for name in ("Service/web", "Service/web-operator"):
        assert objects[name]["spec"]["selector"].items() <= labels
    for name in ("PodDisruptionBudget/web", "Deployment/web"):
        assert objects[name]["spec"]["selector"]["matchLabels"].items() <= labels
    monitor = objects["ServiceMonitor/web"]["spec"]
    operator = objects["Service/web-operator"]
    assert monitor["selector"]["matchLabels"].items() <= operator["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= objects["Service/web"]["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == operator["spec"]["ports"][0]["name"]
    rules = objects["NetworkPolicy/web"]["spec"]["ingress"]
    assert [rule["ports"] for rule in rules] == [[{"port": "http"}], [{"port": "operator"}]]
    assert "from" in rules[1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": IMAGE}, "router"),  # neither a claim nor an image
        (CLAIM | {"router.image": "registry.example/router:7"}, "router"),
        (CLAIM | {"image": "demur:latest"}, "image"),  # a tag moves
        (CLAIM | {"secrets.OPENAI_API_KEY": "sk-123"}, "OPENAI_API_KEY"),
        (CLAIM | {"secrets.OPENAI_API_KEY.value": "sk-123"}, "OPENAI_API_KEY"),
        (CLAIM | {"ledger": "postgresql://demur:secret@postgres/demur"}, "ledger"),
        (CLAIM | {"ledger": "run/ledger.sqlite"}, "ledger"),  # each pod would have its own
        (CLAIM | {"replica": "3"}, "replica"),
        (CLAIM | {"autoscaling.cpuPercent": "700"}, "cpuPercent"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(values: dict[str, str], said: str) -> None:
    done = helm("template", "web", str(CHART), **values)
    assert done.returncode != 0
    assert said in done.stderr


# -- compose, Prometheus, Grafana --------------------------------------------------------------------------------------


def composed() -> str:
    """The compose file with its variables filled in."""
    text = (COMPOSE / "compose.yaml").read_text()
    return re.sub(r"\$\{\w+(?::-([^}]*)|:\?[^}]*)?\}", lambda found: found[1] or "x", text)


def test_the_compose_file_is_one_and_its_files_are_there() -> None:
    needed("compose_spec").PyCompose.from_yaml(composed())
    services = yaml.safe_load(composed())["services"]
    made = {"router"}  # by whoever starts it
    for name, service in services.items():
        files = [str(one).split(":")[0] for one in service.get("volumes", []) if str(one).startswith(".")]
        for file in files:
            assert (COMPOSE / file).exists() or Path(file).name in made, (name, file)
    assert services["demur-1"] == services["demur-2"] == services["demur-3"]
    proxy = (COMPOSE / "haproxy.cfg").read_text()
    scraped = (COMPOSE / "prometheus.yml").read_text()
    for name in (name for name in services if name.startswith("demur-")):
        assert f"{name}:8111" in proxy
        assert f"{name}:9111" in scraped


def test_the_compose_file_waits_as_long_as_a_replica_may_take_to_end() -> None:
    found = read_settings(COMPOSE / "gateway.toml")
    service = yaml.safe_load(composed())["services"]["demur-1"]
    ending = found.notice_seconds + found.drain_seconds + 3 * LAST_TRIES_SECONDS + 10
    assert int(service["stop_grace_period"].rstrip("s")) >= ending
    assert found.operator_port(found.port) == 9111
    assert found.admin_key_env in service["environment"]
    assert ":" not in found.ledger.partition("//")[2].partition("@")[0]


def test_no_secret_has_a_default() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    for name in ("POSTGRES_PASSWORD", "DEMUR_ADMIN_KEY", "GRAFANA_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}(.*?)\}}", text)) == {":?in .env"}
        assert f"\n{name}=\n" in (COMPOSE / "example.env").read_text()


def expressions() -> list[str]:
    """What the dashboard's panels and the alerts ask."""
    board = json.loads((COMPOSE / "grafana" / "demur.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((COMPOSE / "alerts.yml").read_text())["groups"][0]["rules"]
    return asked + [rule["expr"] for rule in alerts]


def names_of_metrics() -> set[str]:
    """Names that the gateway's metrics have in Prometheus."""
    from demur.gateway.operator.metrics import DESCRIBED

    return {
        f"{name}{suffix}"
        for name, kind, _ in DESCRIBED
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


async def test_every_metric_and_label_that_a_panel_or_an_alert_asks_for_is_there(tmp_path: Path) -> None:
    labels: defaultdict[str, set[str]] = defaultdict(set)
    async with gateway(tmp_path, target="30%") as found:
        for text in (EASY, HARD):
            assert (await found.ask(text))[0] == 200
        async with found.session.post(f"{found.address}/v1/decide", json={"text": EASY}) as answer:
            assert answer.status == 200
        async with found.session.get(f"{found.address}/nothing") as answer:
            assert answer.status == 404
        async with found.session.get(f"{found.operator}/metrics") as answer:
            text = await answer.text()
    for name, of in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.M):
        labels[name] |= {"instance", "job", *re.findall(r"(\w+)=", of)}
    labels["up"] = {"instance", "job"}
    for expression in expressions():
        plain = re.sub(r'"[^"]*"', '""', expression)
        asked = re.findall(r"\b(demur_\w+|up)\b(?:\{(.*?)\})?", plain)
        assert asked, expression
        for name, matchers in asked:
            assert name in labels, f"{name} of {expression}"
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels[name], expression
        grouped = {label.strip() for by in re.findall(r"by \((.*?)\)", plain) for label in by.split(",")}
        assert grouped <= set.union(*(labels[name] for name, _ in asked)), expression


def test_prometheus_takes_every_expression_and_the_alerts_say_what_they_should(tmp_path: Path) -> None:
    promtool = tool("promtool")
    rules = [
        {"record": f"panel:{i}", "expr": expression.replace("$__rate_interval", "1m")}
        for i, expression in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for command in (
        ["check", "rules", str(tmp_path / "rules.yml"), str(COMPOSE / "alerts.yml")],
        ["check", "config", "--syntax-only", str(COMPOSE / "prometheus.yml")],
        ["test", "rules", str(Path(__file__).with_name("alerts_test.yml"))],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def scraping(folder: Path, operator: str, key: str) -> AsyncIterator[str]:
    """Prometheus as the compose file sets it up, but for the address, the key's file and a shorter interval."""
    port = free_port()
    text = (COMPOSE / "prometheus.yml").read_text().replace("/run/secrets/admin-key", str(folder / "key"))
    text = re.sub(r"targets: .*", f'targets: ["{operator.removeprefix("http://")}"]', text)
    text = re.sub(r"_interval: \d+s", "_interval: 1s", text)
    (folder / "key").write_text(key)
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(COMPOSE / "alerts.yml", folder)
    child = await asyncio.create_subprocess_exec(
        *(tool("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/metrics"),
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        child.terminate()
        await child.wait()


@pytest.mark.slow
async def test_prometheus_reads_a_gateway_and_every_panel_has_something_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of routed, checked, passed, failed, refused and decided requests."""
    monkeypatch.setenv("DEMUR_ADMIN_KEY", "of the operator")
    settings: dict[str, Any] = {"admin_key_env": "DEMUR_ADMIN_KEY", "admin_port": 0, "target": "30%", "retries": 0}
    steps = (GateStep(0.0, 1.0, (0.0,) * 6, spread=1.0), GateStep(0.0, 1.0, (0.0,) * 6))
    gate = Gate(steps, None, 1.0, GateVerdict(0.1, 0.1, 0.05, 0.15))
    async with (
        gateway(tmp_path, gate=gate, **settings) as found,
        scraping(tmp_path, found.operator, "of the operator") as prometheus,
    ):

        async def get(path: str, **query: str) -> Any:
            async with found.session.get(f"{prometheus}/{path}", params=query) as answer:
                return (await answer.json())["data"]

        async def is_scraped() -> bool:
            try:
                return bool((await get("query", query="demur_requests_total offset 3s"))["result"])
            except aiohttp.ClientError:
                return False

        for _ in range(150):
            for text in (EASY, HARD):  # at a threshold that lets the gate check both
                assert (await found.ask(text, headers={"x-demur-threshold": "0.5"}))[0] == 200
            assert (await found.ask(HARD, model="large"))[0] == 200
            found.strong.failures.append(web.Response(status=400))
            assert (await found.ask(HARD, model="large"))[0] == 400
            await (await found.session.post(f"{found.address}/v1/decide", json={"text": EASY})).read()
            await (await found.session.get(f"{found.address}/nothing")).read()
            if await is_scraped():
                break
            await asyncio.sleep(0.2)
        board = json.loads((COMPOSE / "grafana" / "demur.json").read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                asked = target["expr"].replace("$__rate_interval", "10s")
                values = [float(one["value"][1]) for one in (await get("query", query=asked))["result"]]
                shown = [value for value in values if math.isfinite(value)]
                assert shown, (panel["title"], asked)
                assert max(shown) > 0 or re.findall(r"demur_\w+", asked)[0] in NOUGHT, (panel["title"], asked)
        outcomes = await get("query", query='sum by (role, status) (demur_requests_total{status!=""})')
        assert {(one["metric"]["role"], one["metric"]["status"]) for one in outcomes["result"]} >= {
            *(("weak", "200"), ("strong", "200"), ("direct", "200"), ("direct", "400")),
        }
        rules = (await get("rules"))["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert (await get("query", query="up"))["result"][0]["value"][1] == "1"


def test_grafanas_own_schema_knows_every_field_of_the_dashboard() -> None:
    """Its published classes drop what they do not know: read and written again, the dashboard has lost nothing."""
    needed("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    known = needed("grafana_foundation_sdk.models.dashboard").Dashboard
    written = needed("grafana_foundation_sdk.cog.encoder").JSONEncoder

    def lost(before: Any, after: Any, place: str) -> list[str]:
        if isinstance(before, dict) and isinstance(after, dict):
            return [one for name in before for one in lost(before[name], after.get(name), f"{place}.{name}")]
        if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            return [
                one for i, pair in enumerate(zip(before, after, strict=True)) for one in lost(*pair, f"{place}[{i}]")
            ]
        return [] if before == after else [place]

    text = (COMPOSE / "grafana" / "demur.json").read_text()
    again = json.loads(written().encode(known.from_json(json.loads(text))))
    assert lost(json.loads(text), again, "") == []
    misspelt = text.replace('"gridPos"', '"gridpos"', 1)
    again = json.loads(written().encode(known.from_json(json.loads(misspelt))))
    assert lost(json.loads(misspelt), again, "") == [".panels[0].gridpos"]


def test_grafana_finds_its_source_and_no_two_panels_lie_on_each_other() -> None:
    board = json.loads((COMPOSE / "grafana" / "demur.json").read_text())
    source = yaml.safe_load((COMPOSE / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    cells = [
        (x, y)
        for panel in board["panels"]
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert GatewaySettings().notice_seconds == 0.0  # without a proxy nobody waits
