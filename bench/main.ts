/**
 * `npm run bench -- [paced] [spread] [burst] [short] [spaced] [rate] [metering] [growth] [latency] [rss] [start] [loop] [options]`
 *
 * Runs the sidecar as shipped and its baselines side by side: the same worker, the same load, the proxies taking turns in
 * every round, and prints the CPU that each proxy used per unit of work. The budgets are those of docs/performance.md.
 *
 * Options: `--rounds N` (5) · `--seconds N` (4) per measurement · `--warmup N` (2)
 * seconds before it · `--only a,b` some of the proxies ·
 * `--wire grpc-js` a column for the sidecar on grpc-js · `--profile` where the CPU of one proxy goes (the sidecar, or the
 * first of `--only`) · `--json FILE` keeps what was measured · `--compare FILE` against what such a file holds ·
 * `--strict` exit code 1 when a figure misses what it must hold.
 */
import { fork } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { costBudgets, ownBudgets } from "./budgets.ts"
import { build, otherMain } from "./build.ts"
import { comparison, keep, type Kept, read } from "./compare.ts"
import { isForeign } from "./foreign.ts"
import type { LoopFigures } from "./instrument.ts"
import { canPin, loadAverage, PEER_CORE, pin, threadMicros } from "./machine.ts"
import { summarize } from "./profile.ts"
import { missing, type Place, type Proxy, type ProxyName, start } from "./proxies.ts"
import { costTable, costVerdicts, median, met, type Rounds, show, table, type Verdict, verdictTable } from "./report.ts"
import * as Scenario from "./scenarios.ts"

const costs = {
  paced: { run: Scenario.paced, unit: "token" },
  spread: { run: Scenario.spread, unit: "token" },
  burst: { run: Scenario.burst, unit: "token" },
  short: { run: Scenario.short, unit: "stream" },
  spaced: { run: Scenario.spaced, unit: "stream" },
  rate: { run: Scenario.rate, unit: "stream" },
  metering: { run: Scenario.paced, unit: "token" }
} as const
type CostName = keyof typeof costs
const isCost = (name: string): name is CostName => name in costs

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    warmup: { type: "string", default: "2" },
    only: { type: "string" },
    wire: { type: "string" },
    json: { type: "string" },
    compare: { type: "string" },
    profile: { type: "boolean", default: false },
    strict: { type: "boolean", default: false }
  }
})
const others = ["growth", "latency", "rss", "start", "loop"]
const names = positionals.length > 0 ? positionals : ["paced", "burst", "short", "rate"]
const unknown = names.filter((name) => !isCost(name) && !others.includes(name))
if (unknown.length > 0) {
  console.error(
    `bench: no figure is called ${unknown.join(", ")}; there are: ${[...Object.keys(costs), ...others].join(" ")}`
  )
  process.exit(64)
}
const rounds = Number(options.rounds)
const timing: Scenario.Timing = { seconds: Number(options.seconds), warmup: Number(options.warmup) }
const baselines: ReadonlyArray<ProxyName> = ["grpc-js", "splice", "nginx", "haproxy", "nghttpx"]
/** The sidecar without a part of it. */
const variants: ReadonlyArray<ProxyName> = ["sidecar-whole", "sidecar-memory", "sidecar-unmetered", "sidecar-uncounted"]
/** What takes part, when nobody chose, in the figures that are about a part of the sidecar. */
const parts: Partial<Record<string, ReadonlyArray<ProxyName>>> = {
  metering: ["sidecar-whole", "sidecar-unmetered"],
  loop: ["sidecar", "sidecar-memory", "sidecar-unmetered", "grpc-js", "splice", "journal", "nothing"]
}
const wanted: ReadonlyArray<ProxyName> = options.only === undefined
  ? [
    "sidecar",
    ...(otherMain === "" ? [] : ["sidecar-other" as const]),
    ...(options.wire === "grpc-js" ? ["sidecar-grpc-js" as const] : []),
    ...baselines
  ]
  : (["sidecar", "sidecar-other", "sidecar-grpc-js", ...variants, ...baselines, "journal", "nothing"] as const)
    .filter((name) => options.only?.split(",").includes(name))

const dir = mkdtempSync(join(tmpdir(), "sidecar-bench-"))
const place: Place = { dir, socket: join(dir, "worker.sock"), instrument: false }
const verdicts: Array<Verdict> = []
/** Microseconds of each round by figure and proxy. */
const kept: Kept = {}

/** A figure of the sidecar alone. */
const judge = (figure: keyof typeof ownBudgets, value: number, unit: string): void => {
  verdicts.push({ figure, value, unit, ...ownBudgets[figure] })
}

const startWorker = async (): Promise<() => void> => {
  const child = fork(join(import.meta.dirname, "worker.ts"), [place.socket])
  if (child.pid !== undefined) pin(child.pid, PEER_CORE)
  await new Promise((resolve) => child.once("message", resolve))
  return () => child.kill("SIGKILL")
}

const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** `rounds` times what `measureAll` makes of all proxies, told by proxy. */
const repeated = async <A>(
  figure: string,
  proxies: ReadonlyArray<Proxy>,
  measureAll: () => Promise<ReadonlyArray<readonly [ProxyName, A]>>
): Promise<Rounds<A>> => {
  const out = new Map<ProxyName, Array<A>>(proxies.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    progress(`${figure}: round ${round} of ${rounds}`)
    for (const [name, value] of await measureAll()) out.get(name)?.push(value)
  }
  progress("")
  return out
}

/** Each proxy in turn, `rounds` times. */
const inRounds = <A>(
  figure: string,
  proxies: ReadonlyArray<Proxy>,
  measure: (proxy: Proxy) => Promise<A>
): Promise<Rounds<A>> =>
  repeated(figure, proxies, async () => {
    const values: Array<readonly [ProxyName, A]> = []
    for (const proxy of proxies) values.push([proxy.name, await measure(proxy)])
    return values
  })

/**
 * All proxies at the same time, `rounds` times, each time in fresh processes: what else the machine does falls on each of
 * them alike, and what the compiler or the heap made of one process does not stay. For differences of a few per cent.
 */
const atOnce = <A>(
  figure: string,
  proxies: ReadonlyArray<Proxy>,
  measure: (proxy: Proxy) => Promise<A>
): Promise<Rounds<A>> =>
  repeated(figure, proxies, async () => {
    const young: Array<Proxy> = []
    try {
      for (const { name } of proxies) young.push(await start(name, place))
      return await Promise.all(young.map(async (proxy) => [proxy.name, await measure(proxy)] as const))
    } finally {
      for (const proxy of young) await proxy.stop()
    }
  })

const measureCosts = async (figure: CostName, proxies: ReadonlyArray<Proxy>): Promise<void> => {
  const { run, unit } = costs[figure]
  for (const proxy of proxies) await run(proxy, { seconds: 1, warmup: 2 })
  const measured = figure === "metering"
    ? await atOnce(figure, proxies, (proxy) => run(proxy, Scenario.longer(timing)))
    : await inRounds(figure, proxies, (proxy) => run(proxy, timing))
  console.log(`\n### ${figure}\n\n${costTable(unit, measured)}`)
  const budgets = costBudgets[figure]
  verdicts.push(...costVerdicts(figure, measured, budgets, figure === "metering" ? "sidecar-whole" : "sidecar"))
  kept[figure] = Object.fromEntries(
    [...measured].map(([name, rounds]) => [name, rounds.map((cost) => cost.micros)])
  )
}

/** The same tokens a second with more and more of something. */
const grown = async (
  what: string,
  steps: ReadonlyArray<number>,
  proxies: ReadonlyArray<Proxy>,
  scenario: (step: number) => (proxy: Proxy, timing: Scenario.Timing) => Promise<Scenario.Cost>
): Promise<(name: ProxyName, step: number) => number> => {
  const runs = steps.map((step) => ({ step, run: scenario(step) }))
  // All steps before the first is measured, and then in turns: else the first would pay for the compiler, and look dear.
  for (const { run } of runs) for (const proxy of proxies) await run(proxy, { seconds: 4, warmup: 1 })
  const measured = await inRounds(`growth with ${what}`, proxies, async (proxy) => {
    const costs = new Map<number, Scenario.Cost>()
    for (const { run, step } of runs) costs.set(step, await run(proxy, timing))
    return costs
  })
  const of = (name: ProxyName, step: number): ReadonlyArray<Scenario.Cost> =>
    (measured.get(name) ?? []).flatMap((costs) => costs.get(step) ?? [])
  const broken = (name: ProxyName, step: number): number => of(name, step).reduce((sum, cost) => sum + cost.broken, 0)
  /** NaN, which holds no budget, when streams broke. */
  const micros = (name: ProxyName, step: number): number =>
    broken(name, step) > 0 ? Number.NaN : median(of(name, step).map((cost) => cost.micros))
  const cell = (name: ProxyName, step: number): string =>
    broken(name, step) > 0 ? `void, ${broken(name, step)} broken` : show(micros(name, step))
  console.log(`\n### growth with ${what}, CPU µs/token at ${Scenario.PACED_RATE} tokens a second\n\n${
    table(
      ["proxy", ...steps.map((step) => `${step} ${what}`)],
      proxies.map(({ name }) => [name, ...steps.map((step) => cell(name, step))])
    )
  }`)
  return micros
}

const measureGrowth = async (proxies: ReadonlyArray<Proxy>): Promise<void> => {
  const micros = await grown("streams", [10, 50, 200, 1000, 2000], proxies, Scenario.pacedOver)
  await grown("bytes", [64, 256, 1024, 4096, 16_000], proxies, Scenario.pacedBytes)
  await grown("connections", [1, 10, 100, 500], proxies, Scenario.pacedConnections)
  if (!proxies.some(({ name }) => name === "sidecar")) return
  judge("growth, a token at 2000 streams against 10", micros("sidecar", 2000) / micros("sidecar", 10), "×")
}

const measureLatency = async (proxies: ReadonlyArray<Proxy>): Promise<void> => {
  for (const proxy of proxies) await Scenario.warmUp(proxy)
  const added = await inRounds("latency", proxies, async (proxy) => {
    const direct = await Scenario.latency({ path: place.socket }, timing)
    const through = await Scenario.latency(proxy.address, timing)
    return {
      tokenP50: through.tokenP50 - direct.tokenP50,
      tokenP99: through.tokenP99 - direct.tokenP99,
      firstP50: through.firstP50 - direct.firstP50
    }
  })
  const of = (all: ReadonlyArray<Scenario.Latency>, key: keyof Scenario.Latency): number =>
    median(all.map((one) => one[key]))
  console.log(`\n### latency, ms added to the direct way\n\n${
    table(
      ["proxy", "token p50", "token p99", "first token p50"],
      [...added].map((
        [name, all]
      ) => [name, show(of(all, "tokenP50")), show(of(all, "tokenP99")), show(of(all, "firstP50"))])
    )
  }`)
  const mine = added.get("sidecar")
  if (mine === undefined) return
  judge("latency, token p50", of(mine, "tokenP50"), "ms")
  judge("latency, token p99", of(mine, "tokenP99"), "ms")
  judge("latency, first token p50", of(mine, "firstP50"), "ms")
}

/** For figures that need a process of their own: started, measured, stopped. */
const fresh = async <A>(name: ProxyName, at: Place, measure: (proxy: Proxy) => Promise<A>): Promise<A> => {
  progress(name)
  const proxy = await start(name, at)
  try {
    return await measure(proxy)
  } finally {
    await proxy.stop()
    progress("")
  }
}

const measureRss = async (present: ReadonlyArray<ProxyName>): Promise<void> => {
  const rows: Array<Array<string>> = []
  for (const name of present) {
    const memory = await fresh(name, place, (proxy) => Scenario.rss(proxy, timing))
    rows.push([
      name,
      memory.idle.toFixed(0),
      memory.paced.toFixed(0),
      memory.churned.map((mebibytes) => mebibytes.toFixed(0)).join(", "),
      memory.stalled.toFixed(0),
      memory.sent.toFixed(0)
    ])
    if (name !== "sidecar") continue
    const first = memory.churned[0] ?? Number.NaN
    const last = memory.churned.at(-1) ?? Number.NaN
    judge("rss, idle", memory.idle, "MiB")
    judge("rss, 200 paced streams", memory.paced, "MiB")
    judge("rss, after 100,000 short streams", Math.max(...memory.churned), "MiB")
    judge("rss, third hundred thousand against the first", last / first, "×")
    judge("rss, 1000 stalled readers", memory.stalled, "MiB")
  }
  console.log(
    `\n### rss, MiB\n\n${
      table(["proxy", "idle", "200 paced", "after 100,000 short, thrice", "1000 stalled", "sent to these"], rows)
    }`
  )
}

const measureStart = async (present: ReadonlyArray<ProxyName>): Promise<void> => {
  const rows: Array<Array<string>> = []
  for (const name of present) {
    const millis: Array<number> = []
    for (let round = 0; round < Math.max(3, rounds); round++) {
      millis.push(await fresh(name, place, (proxy) => Promise.resolve(proxy.startMillis)))
    }
    rows.push([name, median(millis).toFixed(0), Math.max(...millis).toFixed(0)])
    if (name === "sidecar") judge("start", median(millis), "ms")
  }
  console.log(
    `\n### start, ms from the spawn to the first token of a stream\n\n${table(["proxy", "median", "slowest"], rows)}`
  )
}

const measureLoop = async (present: ReadonlyArray<ProxyName>): Promise<void> => {
  const runners = present.filter((name) => !isForeign(name))
  const rows: Array<Array<string>> = []
  const measured = new Map<ProxyName, Array<LoopFigures>>(runners.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const name of runners) {
      const figures = await fresh(
        name,
        { ...place, instrument: true },
        (proxy) => Scenario.loop(proxy, Scenario.longer(timing))
      )
      measured.get(name)?.push(figures)
    }
  }
  for (const [name, all] of measured) {
    const of = (key: keyof LoopFigures): number => median(all.map((figures) => figures[key]))
    const p999 = all.map((figures) => figures.p999)
    rows.push([
      name,
      show(of("p50")),
      show(of("p99")),
      show(of("p999")),
      `${show(Math.min(...p999))}–${show(Math.max(...p999))}`,
      show(of("max")),
      show(of("gcMax")),
      show(of("gcShare")),
      show(of("waitShare")),
      show(of("post999")),
      show(of("postMax")),
      show(of("postShare"))
    ])
    if (name === "sidecar") judge("loop, p99.9", of("p999"), "ms")
    if (name === "journal") judge("loop, journal alone p99.9", of("p999"), "ms")
  }
  console.log(
    `\n### loop, ms: 500 streams open, 200 ends a second\n\n${
      table(
        [
          "proxy",
          "delay p50",
          "p99",
          "p99.9",
          "lowest–highest",
          "max",
          "GC max",
          "GC/s",
          "off core/s",
          "post p99.9",
          "max",
          "post/s"
        ],
        rows
      )
    }`
  )
}

const profileOne = async (name: ProxyName): Promise<void> => {
  for (const figure of names.filter(isCost)) {
    await fresh(name, { ...place, instrument: true }, async (proxy) => {
      await costs[figure].run(proxy, { seconds: 1, warmup: 2 })
      const file = join(tmpdir(), `${name}-${figure}.cpuprofile`)
      await proxy.ask({ ask: "profile-start" })
      const before = threadMicros(proxy.pids[0]!)
      const cost = await costs[figure].run(proxy, { seconds: timing.seconds, warmup: 0 })
      const after = threadMicros(proxy.pids[0]!)
      await proxy.ask({ ask: "profile-stop", file })
      console.log(`\n### ${figure}, ${name}: ${show(cost.micros)} µs (with the profiler's own cost); ${file}\n`)
      const threads = [...after]
        .map(([name, micros]) => [name, (micros - (before.get(name) ?? 0)) / 1e6] as const)
        .filter(([, seconds]) => seconds >= 0.01)
      console.log(`threads, s of CPU: ${threads.map(([name, seconds]) => `${name} ${seconds.toFixed(2)}`).join(", ")}`)
      console.log(summarize(file).join("\n"))
    })
  }
}

const main = async (): Promise<void> => {
  const fault = build()
  if (fault !== undefined) console.log(fault)
  for (const name of wanted) {
    const why = missing(name)
    if (why !== undefined) console.log(`without ${name}: ${why}`)
  }
  const present = wanted.filter((name) => missing(name) === undefined)
  console.log(
    `${
      cpus()[0]?.model ?? "?"
    }, ${cpus().length} cores, Node ${process.versions.node}, load average ${loadAverage()}; ` +
      (canPin ? "proxies on one core, worker and load on another" : "nothing is pinned: no taskset, or one core")
  )
  if (options.profile) {
    const [first] = present
    if (first !== undefined) await profileOne(first)
    return
  }
  const takePart = (figure: string): ReadonlyArray<ProxyName> =>
    options.only === undefined ? parts[figure] ?? present : present
  const warm = names.filter((name) => isCost(name) || name === "latency" || name === "growth")
  const proxies: Array<Proxy> = []
  try {
    for (const name of new Set(warm.flatMap(takePart))) proxies.push(await start(name, place))
    for (const name of warm) {
      const chosen = proxies.filter((proxy) => takePart(name).includes(proxy.name))
      if (isCost(name)) await measureCosts(name, chosen)
      else if (name === "growth") await measureGrowth(chosen)
      else await measureLatency(chosen)
    }
  } finally {
    for (const proxy of proxies) await proxy.stop()
  }
  for (const name of names) {
    if (name === "rss") await measureRss(present)
    else if (name === "start") await measureStart(present)
    else if (name === "loop") await measureLoop(takePart(name))
  }
  if (verdicts.length > 0) console.log(`\n### budgets\n\n${verdictTable(verdicts)}`)
  if (options.json !== undefined) keep(options.json, kept, verdicts)
  if (earlier !== undefined) console.log(`\n### against ${options.compare}\n\n${comparison(earlier, kept, verdicts)}`)
  console.log(`load average at the end ${loadAverage()}`)
}

// Before anything is measured: a file that cannot be read is told at once.
const earlier = options.compare === undefined ? undefined : read(options.compare)
pin(process.pid, PEER_CORE)
const stopWorker = await startWorker()
try {
  await main()
} finally {
  stopWorker()
  rmSync(dir, { recursive: true, force: true })
}
if (options.strict && !verdicts.every(met)) process.exitCode = 1
