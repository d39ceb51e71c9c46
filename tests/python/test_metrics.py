"""What the server counts, read by the parser of the PyPI package prometheus-client; and the dashboard built on it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from conftest import Connect
from server import Server, wait_until

_DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana-dashboard.json"
_NAME = re.compile(r"\b(?:topichub|process)_[a-z_]+\b")


def families(server: Server) -> dict[str, Any]:
    """Metrics by name. The parser refuses what breaks the rules of OpenMetrics."""
    answer = server.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    parse: Any = text_string_to_metric_families
    return {family.name: family for family in parse(answer.body.decode())}


def value(server: Server, family: str, sample: str, **labels: str) -> float:
    found = [one.value for one in families(server)[family].samples if one.name == sample and one.labels == labels]
    assert len(found) == 1, f"{sample} {labels}: {found}"
    return float(found[0])


def test_each_metric_is_well_formed_explained_and_named_by_its_unit(server: Server) -> None:
    found = families(server)
    assert len(found) > 30
    for name, family in found.items():
        assert family.documentation, name
        assert not family.unit or name.endswith(f"_{family.unit}"), name
        assert name.startswith(("topichub_", "process_")), name
    labels = {label for family in found.values() for sample in family.samples for label in sample.labels}
    assert labels == {"by", "code", "deflate", "le", "op", "protocol", "reason", "version", "worker"}


def test_counts_rise_with_what_happens(server: Server, connect: Connect, topic: str) -> None:
    deliveries = ("topichub_deliveries", "topichub_deliveries_total")
    before = value(server, *deliveries)
    peer = connect()
    peer.subscribe(topic)
    for number in range(10):
        peer.publish(topic, number)
    wait_until(lambda: value(server, *deliveries) >= before + 10, "ten deliveries are counted")
    lag = families(server)["topichub_registry_lag_seconds"]
    buckets = [sample.value for sample in lag.samples if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] > 0


def test_the_dashboard_asks_for_metrics_that_there_are(server: Server) -> None:
    dashboard = json.loads(_DASHBOARD.read_text())
    there = {sample.name for family in families(server).values() for sample in family.samples}
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    assert len(asked) > 30
    for expression in asked:
        names = _NAME.findall(expression)
        assert names, expression
        assert set(names) <= there, expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    shown = {name for expression in asked for name in _NAME.findall(expression)}
    bases = {name for name in there if not name.endswith(("_sum", "_count", "_created"))}
    assert bases - shown <= {"topichub_workers", "process_threads"}, "what is counted is shown"


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz"])
def test_what_operators_look_at_changes_nothing(server: Server, path: str) -> None:
    assert server.request("GET", path).status == 200
    assert server.request("HEAD", path).body == b""
    assert server.request("POST", path).status in (404, 405)
