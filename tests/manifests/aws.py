"""What holds for ecs/: the linter, AWS's own model of each call, a fake AWS that creates the stack, and the server."""

import contextlib
import functools
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.validate import ParamValidator
from cfnlint.decode.cfn_yaml import loads

from tools import HERE, METADATA_PATTERN, PUBLIC, VARIABLES, VERSION, seconds, setting

REGION = "eu-central-1"
ACCOUNT = {"region_name": REGION, "aws_access_key_id": "none", "aws_secret_access_key": "none"}
# What Fargate sells: CPU units -> memory in MiB.
FARGATE = {256: (512, 2048), 512: (1024, 4096), 1024: (2048, 8192), 2048: (4096, 16384), 4096: (8192, 30720)}
FARGATE_STOP_SECONDS_MAX = 120
NODE_IDLE_SECONDS = 75  # HEAD_WITHIN in src/net/connection.rs
SLACK_SECONDS = 5
# What the fake AWS leaves out of stacks. It has the calls behind some of them, and cfn-lint knows the shape of all.
NOT_IN_THE_FAKE = {
    "AWS::SecretsManager::Secret",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
}
HEALTH_SECONDS = 3  # TIMEOUT in src/cli/health.rs
SCALED_ON = {"ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"}


@functools.cache
def lint(text):
    """What cfn-lint says, of warnings too."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        command = [Path(sys.executable).parent / "cfn-lint", "--non-zero-exit-code", "informational",
                   "--regions", REGION, "--format", "parseable", "--template", file.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines() + done.stderr.splitlines()
    if done.returncode != 0 and not lines:
        lines = [f"cfn-lint ended with {done.returncode}"]
    return [f"cfn-lint: {line.removeprefix(file.name)}" for line in lines]


def shape(task):
    """What AWS's own model of the call says of the task definition."""
    model = boto3.client("ecs", **ACCOUNT).meta.service_model.operation_model("RegisterTaskDefinition")
    report = ParamValidator().validate(task, model.input_shape)
    return [f"task-definition.json: {line}" for line in report.generate_report().splitlines()]


def named(items, key="Name", value="Value"):
    return {item[key]: item[value] for item in items}


def lower(tree):
    """CloudFormation's keys as the API has them. What is free text keeps its case."""
    if isinstance(tree, list):
        return [lower(item) for item in tree]
    if isinstance(tree, dict):
        return {key[0].lower() + key[1:]: item if key == "Options" else lower(item) for key, item in tree.items()}
    return tree


def replaced(tree):
    """Whatever a stack decides, and a file cannot: None."""
    if isinstance(tree, list):
        return [replaced(item) for item in tree]
    if isinstance(tree, dict):
        if any(key.lower() in ("ref", "fn::sub", "fn::getatt") for key in tree):
            return None
        return {key: replaced(item) for key, item in tree.items()}
    return tree


def differences(file, stack, path=""):
    """Where the file and the stack say different things, except for what only a stack knows."""
    if stack is None:
        return
    if isinstance(file, dict) and isinstance(stack, dict):
        for key in file.keys() | stack.keys():
            yield from differences(file.get(key), stack.get(key, "nothing"), f"{path}.{key}")
    elif isinstance(file, list) and isinstance(stack, list) and len(file) == len(stack):
        for number, (one, other) in enumerate(zip(file, stack)):
            yield from differences(one, other, f"{path}.{number}")
    elif str(file) != str(stack):
        yield f"task-definition.json and the stack differ: {path}: {file} and {stack}"


def facts(task, template):
    """What no schema sees: how the numbers hang together."""
    resources = {key: it["Properties"] for key, it in template["Resources"].items() if "Properties" in it}
    container = task["containerDefinitions"][0]
    environment = named(container["environment"], "name", "value")
    yield from differences(task, replaced(lower(resources["TaskDefinition"])))
    yield from (f"no such setting: {key}" for key in environment if key not in VARIABLES)
    least, most = FARGATE.get(int(task["cpu"]), (0, 0))
    if not least <= int(task["memory"]) <= most:
        yield f"Fargate has no {task['cpu']} units of CPU with {task['memory']} MiB"
    if not container["image"].endswith(f":{VERSION}"):
        yield f"its image is of another version than {VERSION}"
    if str(container["portMappings"][0]["containerPort"]) != environment["PORT"]:
        yield "PORT is not the port of the container"
    yield from locked(task, template, container)
    health = container.get("healthCheck", {"command": [""], "timeout": 5, "startPeriod": 300})
    if health["command"][:3] != ["CMD", "/mcp-server", "health"] or not health["command"][-1].endswith("/livez"):
        yield "the health check must run without a shell, and not depend on Redis"
    if health["timeout"] <= HEALTH_SECONDS:
        yield "the health check is given up before it gives up"
    if health["startPeriod"] <= setting(environment, "MCP_STORE__WAIT"):
        yield "the health check gives up before the server does (store.wait)"
    drain = setting(environment, "MCP_DRAIN__DELAY") + setting(environment, "MCP_DRAIN__DEADLINE")
    if not drain + SLACK_SECONDS <= container["stopTimeout"] <= FARGATE_STOP_SECONDS_MAX:
        yield f"stopTimeout must be from {drain + SLACK_SECONDS} to {FARGATE_STOP_SECONDS_MAX}"
    asked = {it["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]
             for it in resources.values() if "TargetTrackingScalingPolicyConfiguration" in it}
    yield from (f"nothing scales on {missing}" for missing in sorted(SCALED_ON - asked))
    behind = resources["Service"]["LoadBalancers"][0]
    if (behind["ContainerName"], behind["ContainerPort"]) != (container["name"], int(environment["PORT"])):
        yield "the load balancer sends requests to another container, or another port"
    yield from balancer(resources, environment, container, drain)
    if resources["CacheParameters"]["Properties"].get("maxmemory-policy") != "noeviction":
        yield "Valkey may evict sessions in use"
    cache = resources["Cache"]
    if not cache.get("TransitEncryptionEnabled") or "AuthToken" not in cache:
        yield "Valkey without TLS or password"


def locked(task, template, container):
    """The task runs as nobody, writes nothing, logs, and is told passwords by Secrets Manager alone."""
    if (task["requiresCompatibilities"], task["networkMode"]) != (["FARGATE"], "awsvpc"):
        yield "not for Fargate"
    if container.get("user", "0").split(":")[0] in ("0", "root"):
        yield "the task runs as root"
    if container.get("readonlyRootFilesystem") is not True:
        yield "the task may write to its image"
    if container.get("linuxParameters", {}).get("capabilities") != {"drop": ["ALL"]}:
        yield "the task keeps capabilities"
    secrets = named(container.get("secrets", []), "name", "valueFrom")
    if ":secretsmanager:" not in secrets.get("REDIS_URL", ""):
        yield "REDIS_URL does not come from Secrets Manager"
    if any("SECRET" in one["name"] or "TOKEN" in one["name"] or "REDIS" in one["name"] for one in container["environment"]):
        yield "a secret stands in the environment"
    told = named(template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0].get("Secrets", []),
                 "Name", "ValueFrom")
    for one in told.values():
        readable = [it["PolicyDocument"]["Statement"] for it in template["Resources"]["ExecutionRole"]["Properties"]["Policies"]]
        if one not in [it["Resource"] for statement in readable for it in statement]:
            yield f"ECS may not read {one}"
    log = container.get("logConfiguration", {})
    if log.get("logDriver") != "awslogs" or log.get("options", {}).get("mode") != "non-blocking":
        yield "the log goes nowhere, or the server waits for it"


def balancer(resources, environment, container, drain):
    targets = resources["Targets"]
    of_targets = named(targets["TargetGroupAttributes"], "Key", "Value")
    idle = int(named(resources["Balancer"]["LoadBalancerAttributes"], "Key", "Value")["idle_timeout.timeout_seconds"])
    if targets["HealthCheckPath"] != "/readyz":
        yield "the load balancer must ask for /readyz"
    delay = int(of_targets["deregistration_delay.timeout_seconds"])
    noticed = targets["HealthCheckIntervalSeconds"] * targets["UnhealthyThresholdCount"]
    if setting(environment, "MCP_DRAIN__DELAY") < noticed:
        yield f"drain.delay is over before the load balancer has noticed, after {noticed} s"
    if not drain <= delay <= container["stopTimeout"]:
        yield f"the deregistration delay must be from {drain} s to stopTimeout"
    if not 2 * setting(environment, "MCP_CALL__KEEP_ALIVE") <= idle < NODE_IDLE_SECONDS:
        yield f"an idle timeout of {idle} s cuts streams off, or races the node's own of {NODE_IDLE_SECONDS} s"
    if of_targets["stickiness.enabled"] != "false":
        yield "stickiness without need"
    paths = resources["ListenerRule"]["Conditions"][0]["PathPatternConfig"]["Values"]
    if not set(paths) <= PUBLIC | {METADATA_PATTERN}:
        yield f"{paths} are not all for the outside"
    if METADATA_PATTERN not in paths:
        yield f"clients cannot find the issuer of their tokens: no {METADATA_PATTERN}"


@contextlib.contextmanager
def fake():
    """A fake AWS on a free port of this machine, while it is needed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(url + "/moto-api/", timeout=2).read()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > until:
                        log.seek(0)
                        raise RuntimeError(f"the fake AWS did not start: {log.read()}") from None
                    time.sleep(0.1)
            yield lambda service: boto3.client(service, endpoint_url=url, **ACCOUNT)
        finally:
            server.terminate()
            server.wait(10)


def parameters(client):
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
        for number, zone in enumerate("abab")
    ]
    return {
        "VpcId": vpc,
        "PublicSubnets": ",".join(subnets[:2]),
        "PrivateSubnets": ",".join(subnets[2:]),
        "CertificateArn": client("acm").request_certificate(DomainName="mcp.example.com")["CertificateArn"],
        "Image": f"anynode/mcp-server:{VERSION}",
    }


def create(text, task, client):
    """Registers the task definition and creates the stack, then looks at what is there."""
    try:
        registered = client("ecs").register_task_definition(**task)["taskDefinition"]
        if registered["family"] != task["family"]:
            yield "the task definition was not registered"
        cloud = client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters(client).items()]
        cloud.create_stack(StackName="mcp", TemplateBody=text, Parameters=given, Capabilities=["CAPABILITY_IAM"])
        status = cloud.describe_stacks(StackName="mcp")["Stacks"][0]["StackStatus"]
        if status != "CREATE_COMPLETE":
            yield f"the stack ended as {status}"
        yield from created(client, cloud, loads(text))
    except (BotoCoreError, ClientError) as error:
        yield f"AWS refuses: {error}"


def created(client, cloud, template):
    resources = template["Resources"]
    made = {it["LogicalResourceId"]: it["PhysicalResourceId"]
            for it in cloud.describe_stack_resources(StackName="mcp")["StackResources"] if "LogicalResourceId" in it}
    for missing in resources.keys() - made.keys():
        if resources[missing]["Type"] not in NOT_IN_THE_FAKE:
            yield f"the stack has no {missing}"
    group = client("elbv2").describe_target_groups(TargetGroupArns=[made["Targets"]])["TargetGroups"][0]
    if group["HealthCheckPath"] != resources["Targets"]["Properties"]["HealthCheckPath"]:
        yield "the target group was made without its health check"
    service = client("ecs").describe_services(cluster=made["Cluster"], services=[made["Service"]])["services"][0]
    if service["taskDefinition"] != made["TaskDefinition"]:
        yield "the service runs another task"
    # Through the calls that CloudFormation would make: their parameters have the same names.
    scaled(client, resources, made)
    properties = dict(resources["Cache"]["Properties"], ReplicationGroupId="mcp", CacheNodeType="cache.t4g.small",
                      CacheSubnetGroupName="mcp", CacheParameterGroupName="mcp", AuthToken="x" * 64,
                      SecurityGroupIds=[made["CacheSecurityGroup"]])
    cache = client("elasticache").create_replication_group(**properties)["ReplicationGroup"]
    if cache["AutomaticFailover"] not in ("enabled", "enabling"):
        yield "Valkey would not fail over"


def scaled(client, resources, made):
    cluster, service = made["Service"].split("/")[-2:]
    target = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
              "ResourceId": f"service/{cluster}/{service}"}
    autoscaling = client("application-autoscaling")
    autoscaling.register_scalable_target(**target, MinCapacity=3, MaxCapacity=30)
    for it in resources.values():
        if it["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy":
            policy = json.loads(json.dumps(it["Properties"]))
            del policy["ScalingTargetId"]
            metric = policy["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]
            if "ResourceLabel" in metric:
                balancer_name, targets_name = (made[part].split(":")[-1] for part in ("Balancer", "Targets"))
                metric["ResourceLabel"] = f"{balancer_name.removeprefix('loadbalancer/')}/{targets_name}"
            autoscaling.put_scaling_policy(**target, **policy)
