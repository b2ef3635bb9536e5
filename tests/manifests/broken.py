"""Breaks what is right, one thing at a time, to see that the checks notice: the cases are in broken.yaml."""

import copy
import json

import yaml
from cfnlint.decode.cfn_yaml import loads

import aws
import kubernetes
import pages
import scaling
import server
from tools import HERE


def put(tree, case):
    """A copy of the tree with one thing broken, which must have been whole."""
    tree = copy.deepcopy(tree)
    for path, value in (case.get("set") or {case["drop"]: None}).items():
        *way, last = (part.replace("~1", "/") for part in path.split("/"))
        at = tree
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        last = int(last) if isinstance(at, list) else last
        if "drop" in case:
            del at[last]
        else:
            at[last] = value
    return tree


def of(it):
    """Kind and name, without the hash that a generated name ends in."""
    wanted = it["metadata"]["name"]
    return f"{it['kind']}/{wanted.rpartition('-')[0] if it['kind'] == 'ConfigMap' else wanted}"


def task_environment(task):
    return aws.named(task["containerDefinitions"][0]["environment"], "name", "value")


def ecs_findings(text, task, client):
    """All that is wrong with a template and a task definition, cheap checks first."""
    found = aws.lint(text) + aws.shape(task)
    found = found or [*aws.facts(task, loads(text)), *server.settings(task_environment(task))]
    return found or list(aws.create(text, task, client))


def plain(text):
    """A template as plain objects, without the short forms of YAML."""
    return json.loads(json.dumps(loads(text)))


def rewritten(texts, case):
    """The pages with one of them gone, or some words in it replaced, which must have been there."""
    texts, path = dict(texts), case["of"]
    if case.get("gone"):
        del texts[path]
        return texts
    if case["replace"] not in texts[path]:
        raise KeyError(f"{path} does not say {case['replace']}")
    texts[path] = texts[path].replace(case["replace"], case["by"])
    return texts


def cluster_findings(case, clusters):
    """What the checks of k8s/ find with one thing broken, or gone, in the first cluster that has it: prod before dev."""
    order = sorted(clusters, key=lambda one: "overlays/prod" not in one[0])
    wanted = case.get("in", "")
    objects = next(some for what, some in order if wanted in what and any(of(it) == case["of"] for it in some))
    if case.get("gone"):
        return kubernetes.findings([it for it in objects if of(it) != case["of"]])
    return kubernetes.findings([put(it, case) if of(it) == case["of"] else it for it in objects])


def found_in(group, case, clusters, template, task, client, scaled, texts):
    """What the checks find when one thing is broken."""
    if group == "pages":
        return list(pages.findings(rewritten(texts, case)))
    if group == "template":
        return ecs_findings(yaml.safe_dump(put(plain(template), case)), task, client)
    if group == "task":
        return ecs_findings(template, put(task, case), client)
    if group in ("adapter", "autoscaler"):
        values, hpa, said = scaled
        return list(scaling.findings(*((put(values, case), hpa) if group == "adapter" else (values, put(hpa, case))), said))
    return cluster_findings(case, clusters)


def unnoticed(clusters, template, task, client, scaled, texts):
    """The cases that the checks do not find, or not for the reason that they should."""
    number = 0
    for group, cases in yaml.safe_load((HERE / "broken.yaml").read_text()).items():
        for case in cases:
            number += 1
            found = found_in(group, case, clusters, template, task, client, scaled, texts)
            if not any(case["says"] in finding for finding in found):
                yield f"broken.yaml, {group}: {case} was not noticed, but {found or 'nothing'}"
    print(f"manifests: {number} broken manifests tried, each of which must be noticed")
