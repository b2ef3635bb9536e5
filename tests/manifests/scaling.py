"""What the autoscaler reads: nodes count their clients, the adapter's queries are put to Prometheus, and the answers must be
what there really is. With sessions that every node has a copy of, because those are what must not be counted."""

import contextlib
import functools
import http.client
import json
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from server import free_port, started, within
from tools import output

PODS = ("a", "b", "c", "d")
SESSIONS = "anynode_sessions_connected"
# What is opened below: pod a carries the standalone streams of two sessions and a reply, pod b one stream of HTTP+SSE, pod
# c a reply, pod d nothing.
THERE = {SESSIONS: {"a": 2, "b": 1, "c": 0, "d": 0}, "anynode_streams_open": {"a": 3, "b": 1, "c": 1, "d": 0}}
LONG = {"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}}
GAUGE = re.compile(r"^(anynode_\w+)(?:\{(.*)\})? (\d+)$", re.M)
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@contextlib.contextmanager
def redis():
    """A Redis of one's own, while it is needed."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", place]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(10)


def ask(port, method, path, body=None, session=None):
    """The response, of which only the head has been read: it may be a stream."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = ACCEPT | ({"Mcp-Session-Id": session} if session else {})
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    if response.status not in (200, 202):
        raise RuntimeError(f"{method} {path} of {body}: {response.status}: {response.read().decode()}")
    return response


def call(port, session, method, **params):
    return ask(port, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, session)


def tell(port, session, method):
    ask(port, "POST", "/mcp", {"jsonrpc": "2.0", "method": method}, session).read()


def session_on_all(ports):
    """A session that each node has served, and so keeps a copy of."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "scaling", "version": "1"}}
    response = call(ports[0], None, "initialize", **hello)
    response.read()
    session = response.headers["Mcp-Session-Id"]
    tell(ports[1], session, "notifications/initialized")
    for port in ports:
        call(port, session, "tools/list").read()
    return session


def gauges(text):
    """The samples of a node's metrics that are whole numbers, by name and labels."""
    return [(name, labels, int(value)) for name, labels, value in GAUGE.findall(text)]


def count(text, wanted):
    return sum(value for name, _, value in gauges(text) if name == wanted)


def measured():
    """What four nodes say at /metrics while clients have streams open, by pod."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis())
        ports = [stack.enter_context(started({"REDIS_URL": url, "MCP_STORE__WAIT": "20s"})) for _ in PODS]
        first, second, third = (session_on_all(ports) for _ in range(3))
        held = [
            ask(ports[0], "GET", "/mcp", session=first),
            ask(ports[0], "GET", "/mcp", session=second),
            ask(ports[1], "GET", "/sse"),
            call(ports[0], third, "tools/call", **LONG),
            call(ports[2], third, "tools/call", **LONG),
        ]
        read = lambda port: ask(port, "GET", "/metrics").read().decode()
        expected = [THERE["anynode_streams_open"][pod] for pod in PODS]
        if not within(10, lambda: [count(read(port), "anynode_streams_open") for port in ports] == expected):
            raise RuntimeError(f"the nodes do not count their streams: {[read(port) for port in ports]}")
        texts = tuple((pod, read(port)) for pod, port in zip(PODS, ports))
        for stream in held:
            stream.close()
    copies = [count(text, "anynode_sessions_active") for _, text in texts]
    if not all(number >= 3 for number in copies):
        raise RuntimeError(f"not every node keeps a copy of each session: {copies}")
    return texts


def adapter(rule):
    """The rule's query as the adapter puts it for a Pods metric, for all pods at once."""
    words = {"<<.Series>>": re.match(r"\w+", rule["seriesQuery"])[0], "<<.GroupBy>>": "pod",
             "<<.LabelMatchers>>": f'namespace="mcp",pod=~"{"|".join(PODS)}"'}
    query = rule["metricsQuery"]
    for word, meaning in words.items():
        query = query.replace(word, meaning)
    return query


@functools.cache
def prometheus(expression, expected, texts):
    """What Prometheus says when the expression is not what is expected, for what the pods said; else nothing."""
    series = [
        {"series": f'{name}{{{labels}{"," if labels else ""}namespace="mcp",service="mcp-server",pod="{pod}"}}',
         "values": f"{value}x4"}
        for pod, text in texts for name, labels, value in gauges(text)
    ]
    samples = [{"labels": f'{{pod="{pod}"}}', "value": value} for pod, value in expected]
    case = {"expr": expression, "eval_time": "15s", "exp_samples": samples}
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "test.yaml"
        file.write_text(yaml.safe_dump({"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": [case]}]}))
        try:
            output("promtool", "test", "rules", file)
        except RuntimeError as error:
            return [str(error).replace(str(file), "")]
    return []


def findings(values, hpa, texts):
    """What is wrong with the adapter's rules, and with what the autoscaler asks of them."""
    rules = {rule["name"]["as"]: rule for rule in values["rules"]["custom"]}
    if len(rules) != len(values["rules"]["custom"]):
        yield "the adapter makes a metric twice"
    for name, rule in rules.items():
        if name not in THERE:
            yield f"the adapter: what {name} should be is not known here"
            continue
        if set(rule["resources"]["overrides"]) != {"namespace", "pod"}:
            yield f"the adapter: {name} is not of pods"
        for what, query, expected in (
            ("is not found for each pod", f"count({rule['seriesQuery']}) by (pod)", tuple((pod, 1) for pod in PODS)),
            ("is not what there is", adapter(rule), tuple(THERE[name].items())),
        ):
            yield from (f"the adapter: {name} {what}: {said}" for said in prometheus(query, expected, texts))
    metrics = hpa["spec"]["metrics"]
    if not any(metric.get("resource", {}).get("name") == "cpu" for metric in metrics):
        yield "the autoscaler does not look at CPU"
    pods = [metric["pods"] for metric in metrics if metric["type"] == "Pods"]
    if SESSIONS not in [one["metric"]["name"] for one in pods]:
        yield "the autoscaler does not look at sessions per pod"
    for one in pods:
        if one["metric"]["name"] not in rules:
            yield f"the adapter does not make {one['metric']['name']}, which the autoscaler asks for"
    if len(pods) + 1 != len(metrics):
        yield "the autoscaler asks for what is neither CPU nor counted by pods"
