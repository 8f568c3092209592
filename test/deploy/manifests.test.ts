import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { parse } from "yaml"
import { problems } from "./manifests.ts"

const base = (name: string) =>
  readFileSync(new URL(`../../deploy/kubernetes/base/${name}.yaml`, import.meta.url), "utf8")
const labelled = (text: string) =>
  text.replace("  template:\n    metadata:\n", "  template:\n    metadata:\n      labels: { app: cy-llm }\n")
const statefulSet = labelled(base("statefulset"))
const service = base("service").replace("spec:\n", "spec:\n  selector: { app: cy-llm }\n")
const facts = { drainSeconds: 30 }

describe("the manifests' rules", () => {
  it("hold for the kustomize base", () => {
    expect(problems([parse(statefulSet), parse(service)], facts)).toEqual([])
  })

  it.each<readonly [string, string | RegExp, string]>([
    ["grace 59 s is less", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 59"],
    ["the worker is no native sidecar", "restartPolicy: Always\n", "restartPolicy: OnFailure\n"],
    ["the worker gets another socket", "\"--uds-path\", \"/sockets/", "\"--uds-path\", \"/tmp/"],
    ["the socket's folder is not shared", "unix:///sockets/", "unix:///tmp/"],
    ["the worker's health server takes our metrics port", /"19090"/, "\"9090\""],
    ["the startup probe asks another port", "port: 19090 }", "port: 9090 }"],
    ["ports and settings disagree", "containerPort: 50051", "containerPort: 50052"],
    ["readiness does not ask /readyz", "path: /readyz", "path: /healthz"],
    ["the journal does not outlive the pod", "value: /data/", "value: /tmp/"],
    ["the sidecar has more rights", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"]
  ])("find out: %s", (problem, before, after) => {
    expect(problems([parse(statefulSet.replace(before, after)), parse(service)], facts).join("\n")).toContain(problem)
  })

  it("find out a longer drain, a Service for other pods and one that is missing", () => {
    expect(problems([parse(statefulSet), parse(service)], { drainSeconds: 31 })).toHaveLength(1)
    expect(problems([parse(statefulSet), parse(service.replace("app: cy-llm", "app: other"))], facts)).toEqual([
      "Service cy-llm selects other pods"
    ])
    expect(problems([parse(statefulSet)], facts)).toEqual(["the StatefulSet's Service is missing"])
  })
})
