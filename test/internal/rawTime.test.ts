import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it } from "vitest"

const root = path.join(import.meta.dirname, "../..")

/**
 * Where a raw timer or the wall clock is read directly, and why that is right. Durations come from the monotonic clock,
 * and a timer whose length is configured must not be given more than Node's timers hold.
 */
const ALLOWED: Readonly<Record<string, string>> = {
  "src/internal/grpcJs/grpcJsServerCall.ts": "grpc-js tells a deadline as a wall-clock time made in the same turn",
  "src/layers/GrpcJsWorkerChannel.ts": "grpc-js wants a deadline as a wall-clock time",
  "src/internal/metrics/nodeFamilies.ts": "the process's start as a moment"
}

const DATE_NOW = /\bDate\.now\(\)/
/** The second argument of a timer, up to the end of its call. */
const TIMER = /\bset(?:Timeout|Interval)\(|^\s*\}, (.+)\)(?:\.unref\(\))?;?$/
const LENGTH = /^\s*\}, (.+?)\)(?:\.unref\(\))?;?$|\bset(?:Timeout|Interval)\([^{]*?, ([\w.$#]+)\)/

export interface Finding {
  readonly line: string
  readonly why: string
}

/** What is suspicious in a source text: wall-clock differences, and timers whose length is not a constant. */
const suspicious = (text: string): ReadonlyArray<Finding> => {
  const lines = text.split("\n")
  return lines.flatMap((line, n) => {
    const found: Array<Finding> = []
    if (DATE_NOW.test(line)) found.push({ line: line.trim(), why: "Date.now()" })
    if (/currentTimeMillis(?:Unsafe)?\b[^\n]*\s-\s|\s-\s[^\n]*currentTimeMillis/.test(line)) {
      found.push({ line: line.trim(), why: "a difference of wall clocks" })
    }
    const length = TIMER.test(line) ? LENGTH.exec(line) : null
    const value = length?.[1] ?? length?.[2]
    const opened = lines.slice(0, n + 1).join("\n").lastIndexOf("setTimeout(") >= 0 || /setInterval/.test(text)
    if (value !== undefined && opened && /(?:settings|config|options|Secs|secs)\b|Millis\b/.test(value)) {
      if (!/^Math\.min\(.*LONGEST_TIMER_MILLIS\)$/.test(value)) {
        found.push({ line: line.trim(), why: `a timer of ${value}` })
      }
    }
    return found
  })
}

const sources = (folder: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => path.posix.join(folder, name.split(path.sep).join("/")))

describe("Time in the sources", () => {
  it("is measured by the monotonic clock, and by timers that hold what they are given", () => {
    const found = sources("src")
      .filter((file) => ALLOWED[file] === undefined && !file.startsWith("src/internal/ops/statusPageScript"))
      .flatMap((file) => suspicious(fs.readFileSync(path.join(root, file), "utf8")).map((one) => ({ file, ...one })))
    expect(found).toEqual([])
  })

  it("is found out when it is not", () => {
    for (
      const text of [
        "const took = Date.now() - began",
        "took = (yield* Clock.currentTimeMillis) - startedAt",
        "const left = until - clock.currentTimeMillisUnsafe()",
        "this.#guard = setTimeout(() => {\n  cut()\n}, this.#settings.slowReaderMillis)",
        "setTimeout(cut, options.patienceMillis)"
      ]
    ) expect(suspicious(text), text).not.toEqual([])
  })
})
