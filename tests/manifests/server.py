"""Runs the server with the settings of a deployment, and asks it what the deployment will ask."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import certifi

from tools import SERVER, setting

OUT_OF_REACH = 69  # README.md, exit codes: the settings are right, and no Redis is there


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def here(environment):
    """The environment of a container, on this machine: nothing else from outside, and files that are here."""
    changed = {"PATH": os.environ["PATH"], **environment}
    if "MCP_STORE__CA_FILE" in changed:
        changed["MCP_STORE__CA_FILE"] = certifi.where()
    return changed


def settings(environment):
    """Whether the server takes these settings. Redis is not there, and it must say that and no more."""
    return checked(tuple(sorted(environment.items())))


@functools.cache
def checked(items):
    trial = here(dict(items)) | {"REDIS_URL": f"rediss://:password@127.0.0.1:{free_port()}", "MCP_STORE__WAIT": "0s"}
    done = subprocess.run([SERVER, "check"], env=trial, capture_output=True, text=True, timeout=60)
    if done.returncode == OUT_OF_REACH:
        return []
    return [f"mcp-server check ended with {done.returncode}: {done.stderr or done.stdout}"]


def status(port, path):
    try:
        # The name that a kubelet or a load balancer uses is the pod's address, which no setting allows or forbids.
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": "10.1.2.3:3000"})
        return urllib.request.urlopen(request, timeout=2).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def within(wait, condition):
    until = time.monotonic() + wait
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def started(environment):
    """A node with these settings and no others, while it is needed: its port."""
    port = free_port()
    trial = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), **environment}
    node = subprocess.Popen([SERVER], env=trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not within(30, lambda: status(port, "/livez") == 200):
            raise RuntimeError(f"the node did not start with {environment}")
        yield port
    finally:
        node.kill()
        node.wait(10)


def life(environment, probes, health, grace):
    """A node with these settings, from its first probe to its end: `probes` are the paths that must answer 200, `health`
    the command of a container health check, `grace` the seconds from SIGTERM to SIGKILL."""
    port, redis_port = free_port(), free_port()
    # A node that shares its sessions with none waits for no balancer.
    redis = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(redis_port), "--save", ""], stdout=subprocess.DEVNULL
    )
    store = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}", "MCP_STORE__WAIT": "10s"}
    trial = here(environment) | {"HOST": "127.0.0.1", "PORT": str(port)} | store
    # It is for TLS, which this Redis does not speak.
    trial.pop("MCP_STORE__CA_FILE", None)
    node = subprocess.Popen([SERVER], env=trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not within(30, lambda: status(port, "/livez") == 200):
            yield "the node did not start"
            return
        yield from (f"{path} answers {status(port, path)}" for path in probes if status(port, path) != 200)
        if health:
            command = [SERVER, *(word.replace(":3000", f":{port}") for word in health[2:])]
            code = subprocess.run(command, env=trial, capture_output=True, timeout=30).returncode
            if code != 0:
                yield f"{health} ended with {code}"
        yield from end(node, port, setting(environment, "MCP_DRAIN__DELAY"), grace)
    finally:
        for process in (node, redis):
            process.kill()
            process.wait(10)


def end(node, port, delay, grace):
    told = time.monotonic()
    node.send_signal(signal.SIGTERM)
    if not within(1, lambda: status(port, "/readyz") == 503):
        yield "SIGTERM does not show on /readyz"
    # Served until balancers have noticed.
    if within(delay - 1, lambda: status(port, "/livez") != 200):
        yield "the node stopped serving before drain.delay was over"
    try:
        code = node.wait(grace - (time.monotonic() - told))
    except subprocess.TimeoutExpired:
        yield f"the node was still there {grace} s after SIGTERM"
        return
    if code != 0:
        yield f"the node ended with {code}"
