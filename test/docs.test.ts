import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { keyNamed, keyOfVariable } from "../src/internal/config/keys.ts"
import { statusOf } from "../src/internal/stream/streamStatus.ts"
import * as PromMetrics from "../src/layers/PromMetrics.ts"
import { Metrics } from "../src/services/Metrics.ts"
import { codeName } from "../src/services/Status.ts"
import * as E from "../src/services/StreamError.ts"
import { LinkFault } from "../src/services/WorkerChannel.ts"

const root = new URL("../", import.meta.url)
const docs = readdirSync(new URL("docs/", root)).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
const pages = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md", ...docs]
const readmes = ["README.md", "README.zh-CN.md"]

const read = (page: string): string => readFileSync(new URL(page, root), "utf8")

const found = (text: string, pattern: RegExp): ReadonlyArray<ReadonlyArray<string>> =>
  Array.from(text.matchAll(pattern), ([, ...groups]) => groups)

/** One of each refusal and each end that is the sidecar's own. */
const ends: ReadonlyArray<E.StreamError> = [
  new E.Draining({ delivered: 0 }),
  new E.TooManyStreams({ limit: 1 }),
  new E.MetadataTooLarge({ bytes: 2, limit: 1 }),
  new E.WorkerUnavailable({ cause: "disconnected", retryAfterMillis: 1 }),
  new E.WorkerUnavailable({ cause: "unhealthy", retryAfterMillis: 1 }),
  new E.CircuitOpen({ retryAfterMillis: 1 }),
  new E.HoldFull({ retryAfterMillis: 1 }),
  new E.HoldTimeout({ heldMillis: 1, retryAfterMillis: 1 }),
  new E.QueueFull({ retryAfterMillis: 1 }),
  new E.QueueTimeout({ queuedMillis: 1, retryAfterMillis: 1 }),
  new E.DeadlineExceeded({ delivered: 1 }),
  new E.WorkerLost({ delivered: 1, retryAfterMillis: 1 }),
  new E.Truncated({ kind: "truncated", delivered: 1 }),
  new E.Truncated({ kind: "empty_stream", delivered: 0 }),
  new E.StreamIdle({ phase: "idle", idleSecs: 1, delivered: 1 }),
  new E.SlowReader({ delivered: 1 }),
  new E.FrameTooLarge({ side: "request", bytes: 2, limit: 1 }),
  new E.Malformed({ detail: "half a frame" })
]

describe.each(pages)("%s", (page) => {
  const text = read(page)

  it("links only to files that exist", () => {
    const targets = found(text, /\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g).flat()
    const missing = targets.filter((target) => !existsSync(fileURLToPath(new URL(target, new URL(page, root)))))
    assert.deepStrictEqual(missing, [])
  })

  it("names only keys of the configuration that exist", () => {
    const unknown = found(text, /\[(server|health|reload|circuit_breaker|metering|observability)\] ([a-z_]+)/g)
      .filter(([section, key]) => keyNamed(key ?? "")?.section !== section)
    assert.deepStrictEqual(unknown.filter(([, key]) => key !== "bind_adr"), [])
  })

  it("names only environment variables that exist", () => {
    const known = new Set(["SIDECAR_CONFIG", "SIDECAR_TOKEN", "SIDECAR_WIRE"])
    const unknown = found(text, /\b(SIDECAR_[A-Z_]*[A-Z])\b/g).flat()
      .filter((name) => keyOfVariable(name) === undefined && !known.has(name))
    assert.deepStrictEqual(unknown, [])
  })
})

describe.each(readmes)("%s for newcomers", (page) => {
  const text = read(page)

  it("names the commands of a fresh machine, which are scripts of the package", () => {
    const { scripts } = JSON.parse(read("package.json")) as { readonly scripts: Readonly<Record<string, string>> }
    assert.include(text, "npm ci && npm run demo")
    assert.include(text, "npm ci && npm test")
    const named = found(text, /\bnpm run (?:-s )?([a-z][a-z:-]*)/g).flat()
    assert.deepStrictEqual(named.filter((name) => scripts[name] === undefined), [])
    assert.isDefined(scripts["test"])
  })

  it.effect("names only metrics that exist, and those of the quick start", () =>
    Effect.gen(function*() {
      const { body } = yield* (yield* Metrics).scrape
      const exposed = new Set(found(body, /^# TYPE (\S+)/gm).flat())
      const named = new Set(
        found(text, /\b(sidecar_[a-z_]+[a-z])\b/g).flat().map((name) => name.replace(/_(sum|count|bucket)$/, ""))
      )
      assert.deepStrictEqual([...named].filter((name) => !exposed.has(name)), [])
      assert.isAtLeast(named.size, 9)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it("has a remedy for every fault of the link to the worker", () => {
    const rest = ["LinkBroken", "GoingAway"]
    const missing = LinkFault.literals.filter((fault) => !text.includes(`\`${fault}\``) && !rest.includes(fault))
    assert.deepStrictEqual(missing, [])
  })
})

describe("docs/gateways.md", () => {
  it.each(ends.map((end) => [String(statusOf(end).metadata["cy-reason"]), end] as const))(
    "explains %s, with its status",
    (reason, end) => {
      const rows = read("docs/gateways.md").split("\n").filter((line) =>
        line.startsWith("|") && line.includes(`\`${reason}\``)
      )
      assert.isAbove(rows.length, 0)
      for (const row of rows) assert.include(row, codeName(statusOf(end).code))
    }
  )
})
