// Checks custom resources against the schemas of their makers: an array of objects in JSON on standard input, one line
// of findings for each on standard output. `null` for a kind that is not known here.
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as monitoring from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const GROUPS = { "gateway.networking.k8s.io/v1": gateway, "monitoring.coreos.com/v1": monitoring };

// The schemas let unknown fields pass, as the API server does when it drops them. A validator reads every field that it
// knows: what it has not read, it does not know.
function watched(value, path, read) {
  if (value === null || typeof value !== "object") return value;
  return new Proxy(value, {
    get(target, key) {
      const at = `${path}/${String(key)}`;
      read.add(at);
      return typeof target[key] === "object" ? watched(target[key], at, read) : target[key];
    },
  });
}

function* unread(value, path, read) {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    const at = `${path}/${key}`;
    if (read.has(at)) yield* unread(value[key], at, read);
    else yield at;
  }
}

function check(object) {
  const Model = GROUPS[object.apiVersion]?.[object.kind];
  if (Model === undefined) return null;
  const read = new Set();
  const findings = [];
  try {
    Model.prototype.validate.call(watched(object, "", read));
  } catch (error) {
    findings.push(error.message);
  }
  for (const path of unread(object, "", read)) findings.push(`unknown field ${path}`);
  return findings;
}

let text = "";
for await (const chunk of process.stdin) text += chunk;
console.log(JSON.stringify(JSON.parse(text).map(check)));
