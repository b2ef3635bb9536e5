"""What holds for k8s/: schemas first, then what no schema sees, because it is about two objects or about the server."""

import functools
import json

import kubernetes_validate
from kubernetes_validate import utils as validator

import server
from network import network
from tools import METADATA, PUBLIC, VARIABLES, VERSION, custom_resources, name, seconds, setting

# From the first in which the kubelet sleeps by itself (preStop), to the newest that the schemas know.
VERSIONS = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
CUSTOM = {"gateway.networking.k8s.io", "monitoring.coreos.com"}
NOT_NAMESPACED = {"Namespace"}
# What each cluster has.
NEEDED = {"Namespace/mcp", "ServiceAccount/mcp-server", "Service/mcp-server", "HorizontalPodAutoscaler/mcp-server",
          "PodDisruptionBudget/mcp-server", "NetworkPolicy/mcp-server", "NetworkPolicy/default-deny"}
SPREAD = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
SLACK_SECONDS = 5  # to end tasks, the lease and the connections to Redis after the drain

# Each version's definitions are megabytes, which would be read again for each object.
validator.schema_contents = functools.cache(validator.schema_contents)


@functools.cache
def core_schemas(text):
    """What the schemas of each version of Kubernetes find in an object."""
    it, found = json.loads(text), []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(it, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            found.append(f"Kubernetes {version} has no {it['apiVersion']} {it['kind']}")
    return found


@functools.cache
def custom_schema(text):
    """What the schema of a custom resource finds in an object; None if it is no such resource."""
    return custom_resources([json.loads(text)])[0]


def schemas(objects):
    for it in objects:
        text = json.dumps(it)
        custom = it["apiVersion"].split("/")[0] in CUSTOM
        found = custom_schema(text) if custom else core_schemas(text)
        if found is None:
            found = [f"no schema for {it['apiVersion']}"]
        yield from (f"{name(it)}: {finding}" for finding in found)


class Cluster:
    """The objects, by kind, and the questions that are asked about more than one."""

    def __init__(self, objects):
        self.objects = objects
        self.workloads = [it for it in objects if it["kind"] in ("Deployment", "StatefulSet")]
        self.services = self.all("Service")
        self.node = next(it for it in self.workloads if it["metadata"]["name"] == "mcp-server")
        self.pod = self.node["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]

    def all(self, kind):
        return [it for it in self.objects if it["kind"] == kind]

    def has(self, kind, wanted):
        return any(it["metadata"]["name"] == wanted for it in self.all(kind))

    def pods(self, selector):
        labels = lambda it: it["spec"]["template"]["metadata"]["labels"].items()
        return [it for it in self.workloads if selector.items() <= labels(it)]

    def named(self, wanted):
        return next((it for it in self.workloads if name(it) == wanted), None)

    def number(self, pod, port):
        """A port's number, which a pod may have given a name."""
        containers = pod["spec"]["template"]["spec"]["containers"] if pod else []
        ports = {have["name"]: have["containerPort"] for container in containers for have in container["ports"]}
        return ports.get(port, port)

    def environment(self):
        maps = {it["metadata"]["name"]: it["data"] for it in self.all("ConfigMap")}
        found = {}
        for source in self.container["envFrom"]:
            found |= maps.get(source.get("configMapRef", {}).get("name"), {})
        return found


def references(it):
    """Every object stands in the namespace, and all that is named or selected is there."""
    for one in it.objects:
        if one["kind"] not in NOT_NAMESPACED and one["metadata"].get("namespace") != "mcp":
            yield f"{name(one)} is not in the namespace"
    for one in it.workloads:
        labels, spec = one["spec"]["template"]["metadata"]["labels"], one["spec"]["template"]["spec"]
        for selector in [one["spec"]["selector"]] + [
            constraint["labelSelector"] for constraint in spec.get("topologySpreadConstraints", [])
        ]:
            if not selector["matchLabels"].items() <= labels.items():
                yield f"{name(one)} selects other pods than its own"
        if "serviceName" in one["spec"] and not it.has("Service", one["spec"]["serviceName"]):
            yield f"{name(one)}: no Service {one['spec']['serviceName']}"
    for source in it.container["envFrom"]:
        wanted = source.get("configMapRef", {}).get("name")
        if wanted and not it.has("ConfigMap", wanted):
            yield f"no ConfigMap {wanted}"
    secrets = [source["secretRef"] for source in it.container["envFrom"] if "secretRef" in source]
    if "REDIS_URL" not in it.environment() and all(secret.get("optional") for secret in secrets):
        yield "a pod without REDIS_URL would start, and keep sessions for itself"
    ca_file = it.environment().get("MCP_STORE__CA_FILE", "")
    if ca_file and not any(ca_file.startswith(mount["mountPath"]) for mount in it.container.get("volumeMounts", [])):
        yield f"nothing is mounted at {ca_file}"
    if not it.has("ServiceAccount", it.pod.get("serviceAccountName")):
        yield f"no ServiceAccount {it.pod.get('serviceAccountName')}"
    for one in it.services + it.all("PodDisruptionBudget") + it.all("NetworkPolicy"):
        selector = one["spec"].get("selector", one["spec"].get("podSelector"))
        selector = selector.get("matchLabels", {}) if one["kind"] != "Service" else selector
        if not it.pods(selector):
            yield f"{name(one)} selects no pod"
    for one in it.services:
        named = {port["name"] for found in it.pods(one["spec"]["selector"])
                 for port in found["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for port in one["spec"]["ports"]:
            if port["targetPort"] not in named:
                yield f"{name(one)}: its pods have no port {port['targetPort']}"
    for one in it.all("ServiceMonitor"):
        wanted = one["spec"]["selector"]["matchLabels"].items()
        found = [service for service in it.services if wanted <= service["metadata"]["labels"].items()]
        if len(found) != 1:
            yield f"{name(one)} selects {len(found)} Services"
        for port in [port for service in found for port in one["spec"]["endpoints"]]:
            if port["port"] not in [have["name"] for have in found[0]["spec"]["ports"]]:
                yield f"{name(one)}: no port {port['port']}"
            if port["path"] != "/metrics":
                yield f"{name(one)}: the server has its metrics at /metrics"


def inventory(it):
    """Nothing is left out."""
    yield from (f"no {missing}" for missing in sorted(NEEDED - {name(one) for one in it.objects}))
    for one in it.all("Namespace"):
        if one["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name(one)} does not enforce the restricted Pod Security Standard"
    for one in it.all("ServiceAccount"):
        if one.get("automountServiceAccountToken") is not False:
            yield f"{name(one)} gives its pods a token"
    if not SPREAD <= {constraint["topologyKey"] for constraint in it.pod.get("topologySpreadConstraints", [])}:
        yield f"{name(it.node)} is not spread over zones and machines"
    scraped = any(one["spec"]["endpoints"] for one in it.all("ServiceMonitor"))
    for one in it.all("HorizontalPodAutoscaler"):
        if not scraped and any(metric["type"] == "Pods" for metric in one["spec"]["metrics"]):
            yield f"{name(one)} asks for metrics that no ServiceMonitor has scraped"


def settings(it):
    """The server takes every setting. What it does not know it refuses, but for names that could be anybody's."""
    asked = {*it.environment(), *(one["name"] for one in it.container.get("env", []))}
    yield from (f"no such setting: {one}" for one in sorted(asked - VARIABLES.keys()))
    yield from server.settings(it.environment())


def ways_in(it):
    """Ingress and routes lead to Services that are there, and only to what clients may ask for."""
    ways = []
    for one in it.all("Ingress"):
        ways += [(one, path["path"], path["pathType"], path["backend"]["service"]["name"],
                  path["backend"]["service"]["port"].get("name"))
                 for rule in one["spec"]["rules"] for path in rule["http"]["paths"]]
    for one in it.all("HTTPRoute"):
        ways += [(one, match["path"]["value"], match["path"]["type"], backend["name"], backend["port"])
                 for rule in one["spec"]["rules"] for match in rule["matches"] for backend in rule["backendRefs"]]
    for one, path, kind, service, port in ways:
        ports = [value for found in it.services if found["metadata"]["name"] == service
                 for have in found["spec"]["ports"] for value in (have["name"], have["port"])]
        if port not in ports:
            yield f"{name(one)}: no Service {service} with a port {port}"
        if not (path in PUBLIC and kind == "Exact" or path in METADATA and kind in ("Prefix", "PathPrefix")):
            yield f"{name(one)}: {path} ({kind}) is not for the outside"
    for one in {name(one): one for one, *_ in ways}.values():
        missing = METADATA - {path for other, path, *_ in ways if other is one}
        if missing:
            yield f"{name(one)}: clients cannot find the issuer of their tokens: no {sorted(missing)}"


def life(it):
    """A pod starts, is asked, is scaled and ends as the server does."""
    environment, container = it.environment(), it.container
    drain = setting(environment, "MCP_DRAIN__DELAY") + setting(environment, "MCP_DRAIN__DEADLINE")
    needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + SLACK_SECONDS
    if it.pod["terminationGracePeriodSeconds"] < needed:
        yield f"terminationGracePeriodSeconds is less than preStop and drain take: {needed} s"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if str(ports.get("http")) != environment.get("PORT"):
        yield "PORT is not the port of the container"
    if environment.get("HOST") not in ("0.0.0.0", "::"):
        yield "HOST: a container must listen on all addresses"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        if (asked["path"], asked["port"]) != (path, "http"):
            yield f"{probe} asks {asked}, not for {path} at the port http"
    startup = container["startupProbe"]
    if startup["failureThreshold"] * startup.get("periodSeconds", 10) <= setting(environment, "MCP_STORE__WAIT"):
        yield "startupProbe gives up before the server does (store.wait)"
    readiness = container["readinessProbe"]
    if readiness["failureThreshold"] * readiness["periodSeconds"] > setting(environment, "MCP_DRAIN__DELAY"):
        yield "drain.delay is over before the readiness probe has seen it"
    for one in it.all("HorizontalPodAutoscaler"):
        yield from autoscaler(it, one)
    for one in it.all("PodDisruptionBudget"):
        fewest = min((hpa["spec"]["minReplicas"] for hpa in it.all("HorizontalPodAutoscaler")), default=1)
        if not 1 <= one["spec"].get("maxUnavailable", 0) < fewest:
            yield f"{name(one)} lets no pod go, or all of them"


def autoscaler(it, one):
    spec = one["spec"]
    target = spec["scaleTargetRef"]
    if not it.has(target["kind"], target["name"]):
        yield f"{name(one)}: no {target['kind']}/{target['name']}"
    if "replicas" in it.node["spec"]:
        yield f"{name(it.node)} sets replicas, which are the autoscaler's"
    if spec["minReplicas"] > spec["maxReplicas"] or spec["minReplicas"] < 2:
        yield f"{name(one)}: from {spec['minReplicas']} to {spec['maxReplicas']}"
    down = spec.get("behavior", {}).get("scaleDown", {})
    # One pod at a time, each gone before the next: a rate in per cent, or no rate, takes many with all their streams at once.
    slowly = [(policy["type"], policy["value"]) == ("Pods", 1)
              and policy["periodSeconds"] >= it.pod["terminationGracePeriodSeconds"] for policy in down.get("policies", [])]
    if down.get("stabilizationWindowSeconds", 0) < 300 or not slowly or not all(slowly):
        yield f"{name(one)} scales down in haste"
    for metric in spec["metrics"]:
        if metric["type"] == "Resource" and "cpu" not in it.container["resources"]["requests"]:
            yield f"{name(one)} needs a request of CPU to compare with"


def streams(it):
    """Whatever closes silent connections waits longer than the server is silent; affinity lasts as long as a session."""
    environment = it.environment()
    keep_alive, ttl = setting(environment, "MCP_CALL__KEEP_ALIVE"), setting(environment, "MCP_SESSION__TTL")
    prefix = "nginx.ingress.kubernetes.io/"
    for one in it.all("Ingress"):
        notes = one["metadata"].get("annotations", {})
        if float(notes.get(prefix + "proxy-read-timeout", 60)) < 2 * keep_alive:
            yield f"{name(one)}: proxy-read-timeout is too close to call.keep_alive"
        if notes.get(prefix + "proxy-buffering") != "off":
            yield f"{name(one)} buffers events"
        if float(notes.get(prefix + "session-cookie-max-age", ttl)) != ttl:
            yield f"{name(one)}: the cookie does not last as long as a session"
        if "http_mcp_session_id" in notes.get(prefix + "upstream-hash-by", ""):
            yield f"{name(one)}: all requests without a session hash to one pod"
    for rule in [rule for one in it.all("HTTPRoute") for rule in one["spec"]["rules"]]:
        if seconds(rule.get("sessionPersistence", {}).get("absoluteTimeout", f"{ttl}s")) != ttl:
            yield "HTTPRoute: affinity does not last as long as a session"
        if seconds(rule["timeouts"]["request"]) != 0:
            yield "HTTPRoute: cuts streams off"
    for one in it.services:
        affinity = one["spec"].get("sessionAffinityConfig", {}).get("clientIP", {})
        if affinity.get("timeoutSeconds", ttl) != ttl:
            yield f"{name(one)}: affinity does not last as long as a session"


def restricted(it):
    """The restricted Pod Security Standard, and a little more."""
    for one in it.workloads:
        pod = one["spec"]["template"]["spec"]
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name(one)} has a token for the API server"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name(one)} has the addresses of all Services in its environment"
        if pod.get("hostNetwork") or pod.get("hostPID") or pod.get("hostIPC"):
            yield f"{name(one)} shares what is the host's"
        for volume in pod.get("volumes", []):
            if not {"configMap", "secret", "emptyDir", "projected"} & volume.keys():
                yield f"{name(one)}: a volume that the restricted standard does not have"
        context = pod.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"{name(one)} runs as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name(one)} has no seccomp profile"
        if context.get("sysctls") or pod.get("ephemeralContainers"):
            yield f"{name(one)} has what the restricted standard does not"
        for container in pod["containers"] + pod.get("initContainers", []):
            yield from (f"{name(one)}: {finding}" for finding in contained(container))


def contained(container):
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.keys() - {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}:
        yield "overrules what holds for its pod"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of its machine"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
        yield "has no requests, or no limit on memory"
    image, _, tag = container["image"].rpartition(":")
    if not image or tag == "latest":
        yield f"which {container['image']}?"
    if image == "anynode/mcp-server" and tag != VERSION:
        yield f"its image is of another version than {VERSION}"


CHECKS = (inventory, references, settings, network, ways_in, life, streams, restricted)


def findings(objects):
    """All that is wrong with the objects of one cluster."""
    found = list(schemas(objects))
    if found:
        return found  # what has not the right shape cannot be looked into
    it = Cluster(objects)
    return [finding for check in CHECKS for finding in check(it)]
