import * as NodeServices from "@effect/platform-node/NodeServices"
import { validateServiceConfig } from "@grpc/grpc-js/build/src/service-config.js"
import { Effect, Schema } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { parse, parseAllDocuments } from "yaml"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import * as TomlConfig from "../../src/layers/TomlConfig.ts"
import { Metrics } from "../../src/services/Metrics.ts"
import { configFile, problems, Resource } from "./manifests.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
/** What `npm ci --prefix .ci/tools` and `.ci/tools/unpack.mjs` install. */
const tools = join(root, ".ci/tools")
const helm = join(tools, "bin/helm")
const kubectl = join(tools, "bin/kubectl")
const installed = existsSync(helm)
const chart = join(root, "deploy/helm")

const documents = (text: string): ReadonlyArray<unknown> =>
  parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0]
    const value: unknown = document.toJS()
    return value === null ? [] : [value]
  })

const template = (...options: ReadonlyArray<string>): string =>
  execFileSync(helm, ["template", "cy-llm", chart, "--namespace", "models", ...options], { encoding: "utf8" })

const render: Readonly<Record<string, () => string>> = {
  "chart, a worker's image": () => template("--set", "worker.image.repository=worker"),
  ...Object.fromEntries(
    readdirSync(join(chart, "ci")).map((file) => [`chart, ci/${file}`, () => template("-f", join(chart, "ci", file))])
  ),
  ...Object.fromEntries(
    ["base", "overlays/hpa", "overlays/production", "overlays/stand-in"].map((folder) => [
      `kustomize, ${folder}`,
      () => execFileSync(kubectl, ["kustomize", join(root, "deploy/kubernetes", folder)], { encoding: "utf8" })
    ])
  )
}

const packageOf = (apiVersion: string): string =>
  apiVersion.startsWith("keda.sh/")
    ? "@kubernetes-models/keda"
    : apiVersion.startsWith("monitoring.coreos.com/")
    ? "@kubernetes-models/prometheus-operator"
    : "kubernetes-models"

const Model = Schema.declare((value): value is new(json: object) => { readonly validate: () => void } =>
  typeof value === "function"
)

/** The API's own schema, from the packages of kubernetes-models. */
const modelOf = async ({ apiVersion, kind }: Resource) => {
  const file = join(tools, "node_modules", packageOf(apiVersion), apiVersion, `${kind}.js`)
  const module: unknown = await import(pathToFileURL(file).href)
  return Schema.decodeUnknownSync(Schema.Record(Schema.String, Schema.Unknown))(module)[kind]
}

const resourceOf = (value: unknown): Resource => Schema.decodeUnknownSync(Resource)(value)
const keyOf = (resource: Resource): string => `${resource.kind}/${resource.metadata.name}`

describe.skipIf(!installed)(`manifests${installed ? "" : " (skipped: .ci/tools is not installed)"}`, () => {
  let folder = ""
  const rendered = new Map<string, ReadonlyArray<unknown>>()

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "manifests-"))
    for (const [name, run] of Object.entries(render)) rendered.set(name, documents(run()))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  describe.each(Object.keys(render))("%s", (name) => {
    const resources = () => rendered.get(name) ?? []

    it("is what the schemas of the API want", async () => {
      for (const value of resources()) {
        const resource = resourceOf(value)
        const model = Schema.decodeUnknownSync(Model)(await modelOf(resource))
        if (typeof value !== "object" || value === null) throw new Error("no resource")
        expect(() => new model(value).validate(), keyOf(resource)).not.toThrow()
      }
      expect(resources().length).toBeGreaterThan(5)
    })

    it("has grace, ports, socket, volumes and selectors that agree, and settings that the sidecar takes", async () => {
      const path = join(folder, "sidecar.toml")
      writeFileSync(path, configFile(resources()) ?? "there is no file")
      const { settings: { server } } = await Effect.runPromise(
        TomlConfig.load({ file: path, env: {} }).pipe(Effect.provide(NodeServices.layer))
      )
      expect(problems(resources(), { drainSeconds: server.drain_timeout_secs })).toEqual([])
    })

    it("scales by metrics that exist", async () => {
      const { body } = await Effect.runPromise(
        Effect.flatMap(Metrics, ({ scrape }) => scrape).pipe(Effect.provide(PromMetrics.layer))
      )
      const named = Array.from(JSON.stringify(resources()).matchAll(/\bsidecar_[a-z_]+/g), ([metric]) => metric)
      expect(named.filter((metric) => !body.includes(`# TYPE ${metric} gauge\n`))).toEqual([])
      expect(named.length > 0).toBe(JSON.stringify(resources()).includes("scaleTargetRef"))
    })
  })

  it("have no field that the API does not know", () => {
    const lines = [...rendered.values()].flat().map((value, index) => {
      const { apiVersion, kind } = resourceOf(value)
      const type = `import("${packageOf(apiVersion)}/${apiVersion}/${kind}").I${kind}`
      return `export const r${index}: ${type} = ${JSON.stringify(value)}`
    })
    const unknownField =
      `export const wrong: import("kubernetes-models/v1/ServiceAccount").IServiceAccount = { apiVersion: "v1", kind: "ServiceAccount", ` +
      `automountServiceAcountToken: false }`
    const options = [
      "--ignoreConfig",
      "--noEmit",
      "--strict",
      "--skipLibCheck",
      "--module",
      "NodeNext",
      "--target",
      "ES2024",
      "--types",
      ""
    ]
    const check = (text: string) => {
      // Beside the packages, where their types are found.
      const file = join(tools, `rendered-${process.pid}.mts`)
      writeFileSync(file, text)
      const { stdout } = spawnSync(join(root, "node_modules/.bin/tsc"), [...options, file], { encoding: "utf8" })
      rmSync(file)
      return stdout
    }
    expect(check(lines.join("\n"))).toBe("")
    expect(check(unknownField)).toContain("automountServiceAcountToken")
  })

  it("the chart and the kustomize base run the same pod", () => {
    const podOf = (name: string) =>
      Schema.decodeUnknownSync(
        Schema.Struct({
          spec: Schema.Struct({ template: Schema.Struct({ spec: Schema.Record(Schema.String, Schema.Unknown) }) })
        })
      )(rendered.get(name)?.find((value) => resourceOf(value).kind === "StatefulSet")).spec.template.spec
    const plain = (name: string) =>
      JSON.parse(
        JSON.stringify(podOf(name)).replaceAll(/"imagePullPolicy":"[^"]*",?/g, "")
          .replaceAll(/cy-llm-config(-[a-z0-9]+)?/g, "cy-llm-config")
          .replaceAll("\"worker:latest\"", "\"registry.example.com/cy-llm-worker:latest\"")
      )
    expect(plain("chart, a worker's image")).toEqual(plain("kustomize, base"))
  })

  it.each([[1, 0, 0, 0], [5, 0.5, 1, 30], [30, 3600, 15, 10], [7, 30, 60, 5]])(
    "the chart's grace covers a preStop of %s s, a drain of %s s, a flush of %s s and a stop of %s s",
    (preStop, drain, flush, stop) => {
      const values = [
        "standIn=true",
        `preStopSeconds=${preStop}`,
        `config.server.drain_timeout_secs=${drain}`,
        `flushSeconds=${flush}`,
        `worker.stopSeconds=${stop}`
      ]
      const text = template(...values.flatMap((value) => ["--set", value]))
      expect(text).toContain(`terminationGracePeriodSeconds: ${preStop + Math.ceil(drain) + flush + stop}\n`)
      const facts = { drainSeconds: drain, flushSeconds: flush, workerStopSeconds: stop }
      expect(problems(documents(text), facts)).toEqual([])
    }
  )

  it.each([
    [["terminationGracePeriodSeconds=59"], "terminationGracePeriodSeconds: 59 is too short"],
    [["terminationGracePeriodSeconds=90", "config.server.drain_timeout_secs=61"], "are 91; leave it out"],
    [["config.server.bind_addr=0.0.0.0:1"], "config.server.bind_addr: is set by the value ports.grpc"],
    [["env[0].name=SIDECAR_DRAIN_TIMEOUT_SECS", "env[0].value=90"], "set config.server.drain_timeout_secs"],
    [["worker.healthPort=9090"], "worker.healthPort: 9090 is ports.metrics"],
    [["worker.image.repository="], "worker.image.repository: the image of your worker"],
    [["replica=2"], "additional properties 'replica' not allowed"],
    [["preStopSeconds=0"], "preStopSeconds"]
  ])("the chart refuses %s", (values, message) => {
    const sets = ["worker.image.repository=worker", ...values].flatMap((value) => ["--set", value])
    const { status, stderr } = spawnSync(helm, ["template", "cy-llm", chart, ...sets], { encoding: "utf8" })
    expect(status).toBe(1)
    expect(stderr).toContain(message)
  })

  it("the chart passes helm's linter", () => {
    const { status, stdout } = spawnSync(helm, ["lint", chart, "--strict", "--set", "standIn=true"], {
      encoding: "utf8"
    })
    expect(stdout).toContain("0 chart(s) failed")
    expect(status).toBe(0)
  })
})

/** `worker.gpu.count` and the like: what has a default of its own. */
const leaves = (value: unknown, path = ""): ReadonlyArray<string> =>
  typeof value !== "object" || value === null || Array.isArray(value) || Object.keys(value).length === 0 ||
    /^(resources|podSecurityContext|worker\.securityContext)$/.test(path)
    ? [path]
    : Object.entries(value).flatMap(([key, child]) => leaves(child, path === "" ? key : `${path}.${key}`))

describe("the chart", () => {
  const text = (path: string) => readFileSync(join(chart, path), "utf8")

  it("has every value in its README, and no other", () => {
    const values = leaves(parse(text("values.yaml")))
    const told = text("README.md").split("\n").filter((line) => line.startsWith("| `"))
      .flatMap((line) => Array.from((line.split(" | ")[0] ?? "").matchAll(/`([^`]+)`/g), ([, name]) => name))
    expect(told.toSorted()).toEqual([...values].sort())
    expect(values.length).toBeGreaterThan(50)
  })

  it("has a service config that gRPC takes whole", () => {
    const config: unknown = JSON.parse(text("files/service-config.json"))
    // What the library does not know it leaves out.
    const { loadBalancingConfig, methodConfig } = validateServiceConfig(config)
    expect(loadBalancingConfig).toEqual([{ round_robin: {} }])
    expect(methodConfig.map(({ name, retryPolicy }) => ({ name, retryPolicy }))).toEqual([{
      name: [{ service: "cy.llm.AiInference", method: "StreamPredict" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "1s",
        maxBackoff: "30s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"]
      }
    }])
  })

  it("has the version of the package, and the service config of the kustomize base", () => {
    const { version } = Schema.decodeUnknownSync(Schema.Struct({ version: Schema.String }))(
      JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    )
    expect(text("Chart.yaml")).toContain(`\nappVersion: ${version}\n`)
    expect(text("files/service-config.json")).toBe(
      readFileSync(join(root, "deploy/kubernetes/base/service-config.json"), "utf8")
    )
  })
})
