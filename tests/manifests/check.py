"""Checks k8s/ and ecs/, then that each case of broken.yaml is found: what `make manifests` runs.

`check.py FOLDER` checks one kustomization only, such as an overlay of your own.
"""

import json
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
import pages
import scaling
import server
from tools import ADAPTER, AFFINITY, ECS, HERE, K8S, SERVER, kustomize, render

TEMPLATE = (ECS / "cloudformation.yaml").read_text()
TASK = json.loads((ECS / "task-definition.json").read_text())


def clusters():
    """Everything that the pages say can be applied: what it is, and its objects."""
    for overlay in ("dev", "prod"):
        yield f"overlays/{overlay}", kustomize(K8S / "overlays" / overlay)
        for affinity in AFFINITY:
            yield f"overlays/{overlay} with affinity/{affinity}", render(overlay, affinity)


def whole(everything, client, scaled, texts):
    """All that is wrong with what is there."""
    for what, objects in everything:
        yield from (f"k8s/{what}: {finding}" for finding in kubernetes.findings(objects))
        print(f"manifests: k8s/{what}: {len(objects)} objects")
    yield from (f"ecs/: {finding}" for finding in broken.ecs_findings(TEMPLATE, TASK, client))
    print(f"manifests: ecs/: a stack of {len(loads(TEMPLATE)['Resources'])} resources")
    yield from pages.findings(texts)
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
        texts = pages.all_of_them()
        scaled = (yaml.safe_load(ADAPTER.read_text()), hpa, scaling.measured())
        found = list(whole(everything, client, scaled, texts))
        found = found or list(broken.unnoticed(everything, TEMPLATE, TASK, client, scaled, texts))
    found += refused()
    if not found:
        print(f"manifests: all well, after {time.monotonic() - started:.0f} s")
    report(found)


if __name__ == "__main__":
    main()
