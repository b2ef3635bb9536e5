"""What people read in k8s/ and ecs/, and what is applied by hand: it names what is there."""

import json
import re
from pathlib import PurePosixPath

import yaml

import kubernetes
from tools import AFFINITY, ECS, K8S, METRICS, ROOT, VARIABLES

CONTROLLER = "k8s/affinity/nginx-header-hash/controller-configmap.yaml"
HASHED = "k8s/affinity/nginx-header-hash/ingress.yaml"


def all_of_them():
    """The files, by their path in the repository."""
    files = [path for folder in (K8S, ECS) for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def findings(texts):
    """All that is wrong with them."""
    yield from metrics("\n".join(texts.values()))
    for path, text in texts.items():
        for asked in set(re.findall(r"\bMCP_[A-Z]+__[A-Z_]+\b", text)) - VARIABLES.keys():
            if not asked.startswith("MCP_AUTH__TOKENS__"):
                yield f"{path}: the server has no setting {asked}"
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if path.endswith(".md") else []:
            if not (ROOT / PurePosixPath(path).parent / link).exists():
                yield f"{path}: {link} is not there"
    for affinity in AFFINITY:
        page = texts.get(f"k8s/affinity/{affinity}/README.md", "")
        for part in ("## When to choose it", "## What it costs"):
            if part not in page:
                yield f"k8s/affinity/{affinity}/README.md has no part {part}"
        if f"]({affinity}/README.md)" not in texts["k8s/affinity/README.md"]:
            yield f"k8s/affinity/README.md does not say that there is {affinity}"
    yield from hashed(texts)


def metrics(text):
    """Every metric that is asked for is one of the server's, or one that the adapter makes of it."""
    made = set(re.findall(r"name: \{as: (anynode_\w+)\}", text))
    for asked in set(re.findall(r"\banynode_\w+", text)) - made - METRICS:
        yield f"the server has no metric {asked}"


def hashed(texts):
    """The variable that the Ingress hashes is made in the controller's ConfigMap, which is merged by hand."""
    controller = yaml.safe_load(texts[CONTROLLER])
    yield from (f"{CONTROLLER}: {finding}" for finding in kubernetes.core_schemas(json.dumps(controller)))
    made = re.findall(r"^map \S+ (\$\w+) \{$", controller["data"]["http-snippet"], re.M)
    asked = yaml.safe_load(texts[HASHED])["metadata"]["annotations"]["nginx.ingress.kubernetes.io/upstream-hash-by"]
    if asked not in made:
        yield f"{HASHED} hashes {asked}, which nothing makes"
