"""Checks k8s/ and ecs/, then that each case of broken.yaml is found: what `make manifests` runs.

`check.py FOLDER` checks one kustomization only, such as an overlay of your own.
"""

import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import yaml
from cfnlint.decode.cfn_yaml import loads

import aws
import broken
import kubernetes
import scaling
import server
from tools import ADAPTER, ECS, HERE, K8S, ROOT, SERVER, VARIABLES, kustomize, render

AFFINITY = sorted(path.name for path in (K8S / "affinity").iterdir() if path.is_dir())
TEMPLATE = (ECS / "cloudformation.yaml").read_text()
TASK = json.loads((ECS / "task-definition.json").read_text())


def clusters():
    """Everything that the pages say can be applied: what it is, and its objects."""
    for overlay in ("dev", "prod"):
        yield f"overlays/{overlay}", kustomize(K8S / "overlays" / overlay)
        for affinity in AFFINITY:
            yield f"overlays/{overlay} with affinity/{affinity}", render(overlay, affinity)


def texts():
    """What people read: names of settings and metrics there must be the server's, and each affinity has its page."""
    files = [path for folder in (K8S, ECS) for path in folder.rglob("*") if path.is_file()]
    everything = {path.relative_to(ROOT): path.read_text() for path in files}
    yield from kubernetes.metrics("\n".join(everything.values()))
    for path, text in everything.items():
        for asked in set(re.findall(r"\bMCP_[A-Z]+__[A-Z_]+\b", text)) - VARIABLES.keys():
            if not asked.startswith("MCP_AUTH__TOKENS__"):
                yield f"{path}: the server has no setting {asked}"
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if path.suffix == ".md" else []:
            if not (ROOT / path).parent.joinpath(link).exists():
                yield f"{path}: {link} is not there"
    for affinity in AFFINITY:
        page = everything.get((K8S / "affinity" / affinity / "README.md").relative_to(ROOT), "")
        for part in ("## When to choose it", "## What it costs"):
            if part not in page:
                yield f"k8s/affinity/{affinity}/README.md has no part {part}"


def whole(everything, client, scaled):
    """All that is wrong with what is there."""
    for what, objects in everything:
        yield from (f"k8s/{what}: {finding}" for finding in kubernetes.findings(objects))
        print(f"manifests: k8s/{what}: {len(objects)} objects")
    yield from (f"ecs/: {finding}" for finding in broken.ecs_findings(TEMPLATE, TASK, client))
    print(f"manifests: ecs/: a stack of {len(loads(TEMPLATE)['Resources'])} resources")
    yield from texts()
    yield from scaling.findings(*scaled)
    print("manifests: the autoscaler is told what four nodes have, each session once")
    prod = kubernetes.Cluster(dict(everything)["overlays/prod"])
    probes = [prod.container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    task = TASK["containerDefinitions"][0]
    grace = prod.pod["terminationGracePeriodSeconds"] - prod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    lives = (
        (prod.environment(), [*probes, "/metrics"], None, grace),
        (broken.task_environment(TASK), ["/readyz"], task["healthCheck"]["command"], task["stopTimeout"]),
    )
    with ThreadPoolExecutor() as side_by_side:
        for found in side_by_side.map(lambda one: list(server.life(*one)), lives):
            yield from (f"with these settings: {finding}" for finding in found)
    print("manifests: a node with either's settings starts, answers what it is asked, drains, and ends with 0")


def refused():
    """A folder that is broken fails, as a command: what CI relies on."""
    done = subprocess.run([sys.executable, __file__, HERE / "refused"], capture_output=True, text=True, timeout=300)
    if done.returncode != 1 or "maxUnavailabel" not in done.stderr:
        yield f"tests/manifests/refused did not fail as it should: {done.returncode}: {done.stdout}{done.stderr}"


def report(found):
    """Says what was found, and ends the process."""
    for finding in found:
        print(f"manifests: {finding}", file=sys.stderr)
    sys.exit(1 if found else 0)


def main():
    if not SERVER.exists():
        report([f"{SERVER} is not there: `make manifests` builds it, and MCP_SERVER names another"])
    if sys.argv[1:]:
        report([finding for folder in sys.argv[1:] for finding in kubernetes.findings(kustomize(folder))])
    # Told to stop it stops what it has started, as when it ends by itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    everything = list(clusters())
    with aws.fake() as client:
        hpa = kubernetes.Cluster(dict(everything)["overlays/prod"]).all("HorizontalPodAutoscaler")[0]
        scaled = (yaml.safe_load(ADAPTER.read_text()), hpa, scaling.measured())
        found = list(whole(everything, client, scaled))
        found = found or list(broken.unnoticed(everything, TEMPLATE, TASK, client, scaled))
    found += refused()
    if not found:
        print(f"manifests: all well, after {time.monotonic() - started:.0f} s")
    report(found)


if __name__ == "__main__":
    main()
