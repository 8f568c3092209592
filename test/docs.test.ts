import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { keyNamed, keyOfVariable } from "../src/internal/config/keys.ts"
import { refusalReasons } from "../src/internal/metrics/figures/callFigures.ts"
import { outcomeOf, reasonOf, statusOf } from "../src/internal/wire/streamStatus.ts"
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
  new E.Killed({ delivered: 1 }),
  new E.TooManyStreams({ limit: 1 }),
  new E.TooManyCalls({ kind: "own", limit: 1 }),
  new E.TenantLimited({ kind: "streams", limit: 1, retryAfterMillis: undefined }),
  new E.RequestTimeout({ secs: 1 }),
  new E.MetadataTooLarge({ bytes: 2, limit: 1 }),
  new E.WorkerUnavailable({ cause: "disconnected", retryAfterMillis: 1 }),
  new E.WorkerUnavailable({ cause: "unhealthy", retryAfterMillis: 1 }),
  new E.WorkerUnavailable({ cause: "reloading", retryAfterMillis: 1 }),
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
  new E.MessageOverdue({ side: "request" }),
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
    const unknown = found(text, /\[(server|health|reload|tenants|circuit_breaker|metering|observability)\] ([a-z_]+)/g)
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

  it("is read in one go: two hundred lines, the reference is elsewhere", () => {
    assert.isAtMost(text.trimEnd().split("\n").length, 200)
  })

  it("links only to what is in the package, too", () => {
    const { files } = JSON.parse(read("package.json")) as { readonly files: ReadonlyArray<string> }
    // npm adds these itself; CONTRIBUTING.md is for those who have the repository.
    const published = [...files, "README.md", "LICENSE", "CONTRIBUTING.md"]
    const targets = found(text, /\]\((?!https?:|#)([^)#]+)/g).flat()
    assert.deepStrictEqual(targets.filter((target) => !published.includes(target.split("/")[0] ?? "")), [])
    assert.isAbove(targets.length, 20)
  })
})

describe("the two readmes", () => {
  /** Headings, commands and links: what has to be equal in every language. */
  const shape = (page: string) => {
    const text = read(page)
    return {
      headings: found(text, /^(#+) /gm).flat(),
      commands: found(text, /```bash\n([\s\S]*?)```/g).flat().map((block) => block.replace(/ +#.*/g, "")),
      rows: found(text, /^(\|)/gm).length,
      links: [...new Set(found(text, /\]\((?!#)([^)]+)\)/g).flat())]
        .filter((link) => !/^README|zh-CN\.md$/.test(link)).sort()
    }
  }

  it("say the same", () => {
    assert.deepStrictEqual(shape("README.zh-CN.md"), shape("README.md"))
  })
})

describe.each(["docs/troubleshooting.md", "docs/zh-CN.md"])("%s", (page) => {
  const text = read(page)

  it("has a remedy for every fault of the link to the worker", () => {
    const rest = ["LinkBroken", "GoingAway"]
    const missing = LinkFault.literals.filter((fault) => !text.includes(`\`${fault}\``) && !rest.includes(fault))
    assert.deepStrictEqual(missing, [])
  })
})

describe("docs/README.md", () => {
  it("names every document", () => {
    const text = read("docs/README.md")
    assert.deepStrictEqual(
      docs.map((name) => name.slice("docs/".length)).filter((name) =>
        name !== "README.md" && !text.includes(`](${name})`)
      ),
      []
    )
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

const folder = fileURLToPath(root)

/** The project's own TypeScript, by path from the root. */
const sources = ["src", "test", "bench", "examples"].flatMap((top) =>
  readdirSync(join(folder, top), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({ file: join(top, name), text: read(join(top, name)) }))
)

const comments = (text: string): string =>
  found(text, /(\/\*[\s\S]*?\*\/|\/\/[^\n]*)/g).flat().join("\n").replace(/\n\s*(?:\*|\/\/)\s*/g, " ")

const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/[^\n]*/g, "")

const hasWord = (text: string, word: string): boolean => new RegExp(`(?<![\\w$])${word}(?![\\w$])`).test(text)

/** Documents of the gRPC project, by which some rules are told. */
const grpcDocuments = new Set([
  "doc/statuscodes.md",
  "doc/http-grpc-status-mapping.md",
  "doc/health-checking.md",
  "statuscodes.md"
])

/** `{@link X}` of which the file knows no X, and `{@link X.y}` of which no file knows a y. */
const danglingLinks = (text: string, everything: string): ReadonlyArray<string> =>
  found(text, /\{@link\s+([\w$.#]+)/g).flat().filter((name) => {
    const [head = "", ...members] = name.split(/[.#]+/)
    return !hasWord(code(text), head) || members.some((member) => !hasWord(everything, member))
  })

/** Documents that a comment names and that are not in the repository, and sections that they do not have. */
const danglingDocuments = (file: string, text: string): ReadonlyArray<string> => {
  const said = comments(text)
  const exists = (name: string) =>
    grpcDocuments.has(name) || [name, join(dirname(file), name)].some((path) => existsSync(join(folder, path)))
  const missing = found(said, /([\w./-]+\.md)\b/g).flat().filter((name) => !exists(name))
  const sections = found(said, /\b([a-z][\w./-]*),? §(\d+)/gi).filter(([name = "", section]) => {
    if (/^(or|of|and|CONNECT)$/.test(name)) return false
    const path = join(folder, name)
    return !(name.endsWith(".md") && existsSync(path) &&
      new RegExp(`^## ${section}\\. `, "m").test(read(relative(folder, path))))
  })
  return [...missing, ...sections.map(([name, section]) => `${name} §${section}`)]
}

describe("comments", () => {
  const everything = sources.map(({ text }) => code(text)).join("\n")

  it("link only to what is there", () => {
    const dangling = sources.filter(({ file }) => file !== "test/docs.test.ts")
      .flatMap(({ file, text }) => danglingLinks(text, everything).map((name) => `${file}: {@link ${name}}`))
    assert.deepStrictEqual(dangling, [])
  })

  it("name only documents and sections that the repository has", () => {
    const dangling = sources.filter(({ file }) => file !== "test/docs.test.ts")
      .flatMap(({ file, text }) => danglingDocuments(file, text).map((name) => `${file}: ${name}`))
    assert.deepStrictEqual(dangling, [])
  })

  it("are found out when they do not", () => {
    const text =
      "/** {@link Gone}, {@link Here.gone}, {@link Here.there}, design §4, docs/design.md §99, docs/no.md */\n" +
      "// docs/design.md §7, RFC 9113 §5.1\nclass Here {}"
    assert.deepStrictEqual(danglingLinks(text, "class Here { there() {} }"), ["Gone", "Here.gone"])
    assert.deepStrictEqual(danglingDocuments("src/x.ts", text), ["docs/no.md", "design §4", "docs/design.md §99"])
  })
})

describe("sidecar_refusals_total", () => {
  it("is held against every error that there is", () => {
    const errors = Object.entries<unknown>(E).flatMap(([name, value]) =>
      typeof value === "function" && value.prototype instanceof Error ? [name] : []
    )
    // Who has gone is told nothing, and the others bring the words of somebody else.
    const foreign = ["GatewayGone", "NotAdmitted", "Rejected", "WorkerStatus"]
    assert.includeMembers([...foreign, ...ends.map(({ _tag }) => _tag)], errors)
  })

  it("has a series for each word with which the sidecar turns a call away, from the first scrape", () => {
    const refusals = ends.filter((end) => outcomeOf(end) === "refused" || end._tag === "Draining")
    assert.isAbove(refusals.length, 8)
    assert.includeMembers(refusalReasons, refusals.map((end) => reasonOf(statusOf(end))))
  })
})
