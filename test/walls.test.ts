import { Schema } from "effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { describe, expect, it } from "vitest"

const root = path.join(import.meta.dirname, "..")
const config = path.join(root, ".oxlintrc.json")

/** A file, and what it may and may not import. */
const walls: ReadonlyArray<readonly [file: string, may: ReadonlyArray<string>, mayNot: ReadonlyArray<string>]> = [
  ["services/Wire", ["effect", "effect/Schema", "./Status.ts"], [
    "node:fs",
    "../http2/frameReader.ts",
    "../internal/words.ts",
    "../layers/Sidecar.ts",
    "../testing.ts",
    "prom-client",
    "@effect/platform-node"
  ]],
  ["http2/connection", ["./output.ts", "./hpack/HpackEncoder.ts"], [
    "./driver/loop.ts",
    "node:net",
    "effect",
    "../services/Wire.ts",
    "../internal/wire/frames.ts",
    "../index.ts",
    "prom-client"
  ]],
  ["http2/driver/loop", ["../connection.ts", "./gate.ts", "node:net", "node:tls"], [
    "node:fs",
    "effect",
    "../../services/Wire.ts",
    "../../internal/wire/frames.ts",
    "../../testing.ts"
  ]],
  ["http2/hpack/HpackEncoder", ["./integer.ts", "../protocol.ts"], ["../driver/loop.ts", "../../services/Wire.ts"]],
  ["internal/words", ["effect", "../services/Wire.ts", "./version.ts"], ["./wire/frames.ts", "../layers/Drain.ts"]],
  ["internal/wire/frames", ["node:fs", "../words.ts", "../../services/Wire.ts", "./prefix.ts"], [
    "../stream/peek.ts",
    "../connection/workerRpc.ts",
    "../http2/fields.ts",
    "../../http2/protocol.ts",
    "../../layers/Drain.ts",
    "@grpc/grpc-js"
  ]],
  ["internal/http2/fields", ["../wire/frames.ts", "../../http2/protocol.ts", "../../services/Wire.ts"], [
    "../stream/peek.ts",
    "../connection/workerSession.ts",
    "../grpcJs/grpcJsStatus.ts",
    "../../layers/Drain.ts"
  ]],
  ["internal/grpcJs/grpcJsStatus", ["@grpc/grpc-js", "../wire/frames.ts"], [
    "../http2/http2Status.ts",
    "../stream/peek.ts",
    "../connection/workerSession.ts",
    "../../http2/protocol.ts"
  ]],
  ["internal/connection/workerSession", ["../wire/frames.ts", "../monotonic.ts", "../../services/Wire.ts"], [
    "../stream/peek.ts",
    "../http2/fields.ts",
    "../grpcJs/grpcJsStatus.ts",
    "../handlers/unary.ts",
    "../../http2/protocol.ts"
  ]],
  ["internal/stream/peek", ["../wire/frames.ts", "../../services/Wire.ts"], [
    "../connection/workerSession.ts",
    "../http2/fields.ts",
    "../usage/ledger.ts",
    "../metrics/metricFamily.ts",
    "prom-client",
    "node:tls"
  ]],
  ["internal/hooks/hookedReplies", ["../inProcess/predictMessages.ts"], ["../stream/peek.ts"]],
  ["internal/handlers/unary", ["../stream/deadline.ts", "../connection/workerRpc.ts"], [
    "../http2/fields.ts",
    "../usage/ledger.ts"
  ]],
  ["internal/metrics/metricFamily", ["prom-client", "../connection/statusWords.ts"], ["../stream/peek.ts"]],
  ["internal/metrics/figures/figures", ["../metricFamily.ts", "../../connection/statusWords.ts"], [
    "../../stream/peek.ts",
    "../../usage/ledger.ts"
  ]],
  ["internal/usage/ledger", ["../../services/UsageRecord.ts"], ["../stream/peek.ts", "../wire/frames.ts"]],
  ["internal/config/keys", ["../../services/SidecarConfig.ts"], ["../outbound/endpoint.ts", "../stream/peek.ts"]],
  ["layers/Drain", ["../services/Wire.ts", "../internal/stream/peek.ts", "../http2/protocol.ts"], [
    "./Sidecar.ts",
    "../cli/exit.ts",
    "../testing.ts",
    "../index.ts",
    "node:http",
    "node:util",
    "node:zlib"
  ]],
  ["layers/Sidecar", ["./Drain.ts"], ["../cli/exit.ts", "../testing/Answer.ts"]],
  ["testing/Answer", ["../services/Wire.ts", "../layers/Sidecar.ts", "../internal/wire/frames.ts"], [
    "../cli/exit.ts",
    "../internal/stream/peek.ts",
    "../internal/http2/fields.ts"
  ]],
  ["index", ["./layers/Sidecar.ts", "./services/Wire.ts"], ["./internal/words.ts", "./http2/protocol.ts"]]
]

const Found = Schema.fromJsonString(Schema.Struct({
  diagnostics: Schema.Array(Schema.Struct({ code: Schema.String, filename: Schema.String }))
}))
const Config = Schema.fromJsonString(Schema.Struct({
  overrides: Schema.Array(Schema.Struct({ files: Schema.Array(Schema.String) }))
}))

/** Those of the imports that the linter refuses, each in a tree of its own. */
const refused = (imports: ReadonlyArray<readonly [file: string, specifier: string]>): ReadonlyArray<string> => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "cy-walls-"))
  try {
    imports.forEach(([file, specifier], n) => {
      const tree = path.join(folder, String(n))
      const place = path.join(tree, "src", `${file}.ts`)
      fs.mkdirSync(path.dirname(place), { recursive: true })
      fs.writeFileSync(place, `import { a } from "${specifier}"\nexport const b = a\n`)
      fs.copyFileSync(config, path.join(tree, ".oxlintrc.json"))
    })
    const oxlint = path.join(root, "node_modules/oxlint/bin/oxlint")
    const { stdout } = spawnSync(process.execPath, [oxlint, "--format", "json"], { cwd: folder, encoding: "utf8" })
    const trees = Schema.decodeSync(Found)(stdout).diagnostics
      .filter(({ code }) => code.includes("no-restricted-imports"))
      .map(({ filename }) => Number(filename.split(path.sep)[0]))
    return imports.filter((_, n) => trees.includes(n)).map((pair) => pair.join(": "))
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

const pairs = (which: 1 | 2) => walls.flatMap((wall) => wall[which].map((specifier) => [wall[0], specifier] as const))

describe("The walls of the tree", () => {
  it("let nobody import what he must not know", () => {
    const planted = pairs(2)
    expect(refused(planted)).toEqual(planted.map((pair) => pair.join(": ")))
  })

  it("let everybody import what he stands on", () => {
    expect(refused(pairs(1))).toEqual([])
  })

  it("stand around every folder", () => {
    const { overrides } = Schema.decodeSync(Config)(fs.readFileSync(config, "utf8"))
    const files = overrides.flatMap((override) => override.files)
    const folders = ["", "internal/"].flatMap((parent) =>
      fs.readdirSync(path.join(root, "src", parent), { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && entry.name !== "internal")
        .map((entry) => `src/${parent}${entry.name}/**`)
    )
    expect(folders.filter((folder) => !files.includes(folder))).toEqual([])
  })
})
