"""Where everything is, and the tools that the checks run."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
K8S = ROOT / "k8s"
ECS = ROOT / "ecs"
AFFINITY = sorted(path.name for path in (K8S / "affinity").iterdir() if path.is_dir())
ADAPTER = K8S / "components/monitoring/prometheus-adapter.values.yaml"
SERVER = Path(os.environ.get("MCP_SERVER", ROOT / "target/debug/mcp-server"))
KUBECTL = Path(os.environ.get("KUBECTL", HERE / "node_modules/.kubectl/kubectl"))
README = (ROOT / "README.md").read_text()

VERSION = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
# The table of settings: variable -> default.
VARIABLES = dict(re.findall(r"^\| `[a-z_.]+` \| `([A-Z_]+)[^|]*` \| ([^|]+) \|", README, re.M))
METRICS = set(re.findall(r'"(anynode_[a-z_]+)"', (ROOT / "src/telemetry/metrics/names.rs").read_text()))
# What clients ask for; the rest of what the server answers is for operators.
PUBLIC = {"/mcp", "/sse", "/messages"}
# Where clients find the issuer of their tokens, with all that is below: Ingress says `Prefix`, Gateway API `PathPrefix`.
METADATA = {"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server"}
# The same as a pattern of AWS.
METADATA_PATTERN = "/.well-known/oauth-*"


def output(*command, stdin=None):
    """What a command prints; its complaint as an error if it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout


def name(it):
    return f"{it['kind']}/{it['metadata']['name']}"


def kustomize(folder):
    """The objects of a folder, as `kubectl apply -k` would send them."""
    return [it for it in yaml.safe_load_all(output(KUBECTL, "kustomize", folder)) if it]


def render(overlay, affinity):
    """The objects of an overlay with another affinity than its own, as its pages say to choose one."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "k8s"
        shutil.copytree(K8S, copy)
        file = copy / "overlays" / overlay / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text())
        chosen = kustomization["components"].index("../../affinity/none")
        kustomization["components"][chosen] = f"../../affinity/{affinity}"
        file.write_text(yaml.safe_dump(kustomization))
        return kustomize(file.parent)


def custom_resources(objects):
    """What the schemas of custom resources find, for each object; None where there is no schema."""
    return json.loads(output("node", HERE / "crds.mjs", stdin=json.dumps(objects)))


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text):
    """`1h 30m`, as the settings have it, in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)\s*(ms|[smhd])", text))


def setting(environment, name):
    """A duration, from the environment or else the default in README.md."""
    return seconds(environment.get(name, VARIABLES[name]))
