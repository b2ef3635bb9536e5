"""What holds for the network policies of k8s/: which pods may reach which, and at which port."""

import re
from urllib.parse import urlsplit

from tools import K8S, name

EVERYWHERE = {"0.0.0.0/0", "::/0"}
DNS = {("UDP", 53), ("TCP", 53)}
# Where the page says that Redis is, outside of the cluster.
REDIS_OUTSIDE = int(re.search(r"REDIS_URL=rediss://\S+:(\d+)", (K8S / "README.md").read_text())[1])


def peers(it, rule, side):
    """The pods of this cluster that one side of a rule names; None stands for all that is outside."""
    for peer in rule.get(side, [{}]):
        if "namespaceSelector" in peer or "ipBlock" in peer or not peer:
            yield None
        else:
            yield from (name(pod) for pod in it.pods(peer["podSelector"].get("matchLabels", {})))


def openings(it, pod, direction):
    """What the policies of a pod let through: the rule's peer with each port, by its number."""
    labels = pod["spec"]["template"]["metadata"]["labels"].items()
    for policy in it.all("NetworkPolicy"):
        if not policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels:
            continue
        for rule in policy["spec"].get(direction, []):
            for peer in peers(it, rule, {"ingress": "from", "egress": "to"}[direction]):
                aim = pod if direction == "ingress" else it.named(peer)
                for port in rule.get("ports", [{}]):
                    yield peer, port.get("protocol", "TCP"), it.number(aim, port.get("port")), policy


def network(it):
    """Pods reach what they need, and nothing else reaches them."""
    for one in it.all("NetworkPolicy"):
        spec = one["spec"]
        if one["metadata"]["name"] == "default-deny" and (
            spec["podSelector"] or sorted(spec["policyTypes"]) != ["Egress", "Ingress"] or spec.keys() & {"ingress", "egress"}
        ):
            yield f"{name(one)} lets something through"
        for rule in spec.get("ingress", []) + spec.get("egress", []):
            for side in rule.keys() & {"from", "to"}:
                if not list(peers(it, rule, side)):
                    yield f"{name(one)}: a rule for pods that are not there"
    into, out = list(openings(it, it.node, "ingress")), list(openings(it, it.node, "egress"))
    http = it.number(it.node, "http")
    yield from (f"{name(policy)} lets {protocol} {port} of the nodes be reached"
                for _, protocol, port, policy in into if (protocol, port) != ("TCP", http))
    if not any(peer is None for peer, *_ in into):
        yield "no policy lets anything in"
    if not DNS <= {(protocol, port) for _, protocol, port, _ in out}:
        yield "no policy lets the nodes resolve names"
    yield from redis(it, out)
    for policy in it.all("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            if "to" not in rule or any(peer.get("ipBlock", {}).get("cidr") in EVERYWHERE for peer in rule["to"]):
                yield f"{name(policy)} lets the nodes reach everything"


def redis(it, out):
    """The nodes reach the Redis that their settings name, or one outside at the port that the page names."""
    if "REDIS_URL" not in it.environment():
        if (None, "TCP", REDIS_OUTSIDE) not in [opening[:3] for opening in out]:
            yield f"no policy lets the nodes reach Redis at port {REDIS_OUTSIDE}"
        return
    url = urlsplit(it.environment()["REDIS_URL"])
    service = next((one for one in it.services if one["metadata"]["name"] == url.hostname), None)
    if service is None:
        yield f"REDIS_URL: no Service {url.hostname}"
        return
    ports = [port for port in service["spec"]["ports"] if port["port"] == url.port]
    for pod in it.pods(service["spec"]["selector"]):
        numbers = [it.number(pod, port["targetPort"]) for port in ports]
        if not any((name(pod), "TCP", number) in [opening[:3] for opening in out] for number in numbers):
            yield f"no policy lets the nodes reach {name(pod)} at the port of REDIS_URL"
        into = [opening[:3] for opening in openings(it, pod, "ingress")]
        if into != [(name(it.node), "TCP", number) for number in numbers]:
            yield f"{name(pod)} is reached by {into}, and not by the nodes alone"
