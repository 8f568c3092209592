/** What is measured, one function per figure; each drives one proxy once. */
import { setTimeout as sleep } from "node:timers/promises"
import type { LoopFigures } from "./instrument.ts"
import { type Address, Load } from "./load.ts"
import { cpuMicros, rssMiB } from "./machine.ts"
import type { Proxy } from "./proxies.ts"
import { nowMicros, type Plan, TOKEN_BYTES } from "./token.ts"

export interface Timing {
  /** Seconds that are measured. */
  readonly seconds: number
  /** Seconds before, in which caches and the compiler warm up. */
  readonly warmup: number
}

/**
 * For fresh processes, and for what is rare: in its first ten seconds V8 compiles and its heap grows, and of a second's
 * thousand delays one is beyond p99.9.
 */
export const longer = ({ seconds, warmup }: Timing): Timing => ({ seconds: 5 * seconds, warmup: 5 * warmup })

/** CPU per unit of work, and how much work was done. */
export interface Cost {
  /** Microseconds of the proxy's CPU per token or per stream. */
  readonly micros: number
  /** Tokens or streams a second, by the wall clock. */
  readonly rate: number
  /** Share of one core that the proxy used. */
  readonly busy: number
  /** Streams that did not get what they should have. */
  readonly broken: number
}

/** Measures CPU while `work()` grows. */
const costOf = async (proxy: Proxy, broken: () => number, work: () => number, timing: Timing): Promise<Cost> => {
  await sleep(timing.warmup * 1000)
  const [cpu, done, at] = [cpuMicros(proxy.pids), work(), performance.now()]
  await sleep(timing.seconds * 1000)
  const used = cpuMicros(proxy.pids) - cpu
  const did = work() - done
  const seconds = (performance.now() - at) / 1000
  return { micros: used / did, rate: did / seconds, busy: used / 1e6 / seconds, broken: broken() }
}

const endless = async (proxy: Proxy, streams: number, plan: Plan, timing: Timing): Promise<Cost> => {
  const load = await Load.connect(proxy.address)
  for (let i = 0; i < streams; i++) load.start(plan)
  const cost = await costOf(proxy, () => load.broken, () => load.tokens, timing)
  await load.close()
  return cost
}

/** Tokens a second of {@link paced}, however many streams share them: ten in each millisecond. */
export const PACED_RATE = 10_000

/** 10,000 tokens a second over so many streams, ten tokens in each millisecond: CPU per token. */
export const pacedOver = (streams: number) => (proxy: Proxy, timing: Timing): Promise<Cost> =>
  endless(proxy, streams, { kind: "paced", rate: PACED_RATE / streams }, timing)

/** The same over 200 streams, with tokens of so many bytes. */
export const pacedBytes = (bytes: number) => (proxy: Proxy, timing: Timing): Promise<Cost> =>
  endless(proxy, 200, { kind: "paced", rate: PACED_RATE / 200, bytes }, timing)

/** The same over 500 streams on so many connections. */
export const pacedConnections = (connections: number) => async (proxy: Proxy, timing: Timing): Promise<Cost> => {
  const loads: Array<Load> = []
  for (let n = 0; n < connections; n++) loads.push(await Load.connect(proxy.address))
  for (let n = 0; n < 500; n++) loads[n % connections]?.start({ kind: "paced", rate: PACED_RATE / 500 })
  const sum = (of: (load: Load) => number): number => loads.reduce((total, load) => total + of(load), 0)
  const cost = await costOf(proxy, () => sum((load) => load.broken), () => sum((load) => load.tokens), timing)
  await Promise.all(loads.map((load) => load.close()))
  return cost
}

/** 200 streams of 50 tokens a second, ten streams' tokens each millisecond: CPU per token. */
export const paced = pacedOver(200)

/** The same with a token each 100 µs: every token wakes the proxy, and what is measured is mostly the kernel. */
export const spread = (proxy: Proxy, timing: Timing): Promise<Cost> =>
  endless(proxy, 200, { kind: "paced", rate: 50, spread: true }, timing)

/** 32 streams as fast as they go: CPU per token. */
export const burst = (proxy: Proxy, timing: Timing): Promise<Cost> => endless(proxy, 32, { kind: "burst" }, timing)

const inTurns = async (proxy: Proxy, concurrency: number, plan: Plan, timing: Timing): Promise<Cost> => {
  const load = await Load.connect(proxy.address)
  let over = false
  const next = (): void => {
    if (!over) load.start(plan, { onEnd: next })
  }
  for (let i = 0; i < concurrency; i++) next()
  const cost = await costOf(proxy, () => load.broken, () => load.completed, timing)
  over = true
  await load.close()
  return cost
}

/** Streams of one request and 16 tokens, 32 at a time, as fast as they go: CPU per stream. */
export const short = (proxy: Proxy, timing: Timing): Promise<Cost> =>
  inTurns(proxy, 32, { kind: "short", tokens: 16, gapMillis: 0 }, timing)

/** The same with 2 ms between the tokens of a stream: each wakes the proxy, and most of what is measured is the kernel. */
export const spaced = (proxy: Proxy, timing: Timing): Promise<Cost> =>
  inTurns(proxy, 32, { kind: "short", tokens: 16, gapMillis: 2 }, timing)

/** Streams of one request and one token, 64 at a time, as fast as they go: CPU per stream. */
export const rate = (proxy: Proxy, timing: Timing): Promise<Cost> =>
  inTurns(proxy, 64, { kind: "short", tokens: 1, gapMillis: 0 }, timing)

export const percentile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Milliseconds from the worker's write to the gateway's read, and from the request to its first token. */
export interface Latency {
  readonly tokenP50: number
  readonly tokenP99: number
  readonly firstP50: number
}

/** A quiet load: 20 streams of 20 tokens a second, and 50 new one-token streams a second. */
export const latency = async (address: Address, timing: Timing): Promise<Latency> => {
  const load = await Load.connect(address)
  let measuring = false
  const tokens: Array<number> = []
  const firsts: Array<number> = []
  for (let i = 0; i < 20; i++) {
    load.start({ kind: "paced", rate: 20 }, {
      onLatency: (micros) => {
        if (measuring) tokens.push(micros / 1000)
      }
    })
  }
  const opener = setInterval(() => {
    const started = nowMicros()
    load.start({ kind: "short", tokens: 1, gapMillis: 0 }, {
      onLatency: () => {
        if (measuring) firsts.push((nowMicros() - started) / 1000)
      }
    })
  }, 20)
  await sleep(timing.warmup * 1000)
  measuring = true
  await sleep(timing.seconds * 1000)
  clearInterval(opener)
  await load.close()
  return { tokenP50: percentile(tokens, 0.5), tokenP99: percentile(tokens, 0.99), firstP50: percentile(firsts, 0.5) }
}

/** MiB that stay resident. */
export interface Memory {
  /** MiB that the stopped readers had been sent: a proxy that lets fewer of them start has less to keep. */
  readonly sent: number
  readonly idle: number
  readonly paced: number
  /** After each of {@link CHURNS} times {@link CHURN_STREAMS} one-token streams and ten seconds of rest. */
  readonly churned: ReadonlyArray<number>
  readonly stalled: number
}

/** Short streams between two looks at what stays of them. */
const CHURN_STREAMS = 100_000
const CHURNS = 3
const CHURN_REST_MILLIS = 10_000

/** Short streams after which a process has compiled what it does often. */
const WARM_STREAMS = 20_000

/** So many one-token streams, 64 at a time. */
const shortOnes = async (proxy: Proxy, streams: number): Promise<void> => {
  const load = await Load.connect(proxy.address)
  await new Promise<void>((resolve) => {
    let started = 0
    let ended = 0
    const next = (): void => {
      started += 1
      load.start({ kind: "short", tokens: 1, gapMillis: 0 }, {
        onEnd: () => {
          ended += 1
          if (ended === streams) resolve()
          else if (started < streams) next()
        }
      })
    }
    for (let i = 0; i < 64; i++) next()
  })
  if (load.broken > 0) throw new Error(`${proxy.name}: ${load.broken} of ${streams} short streams broke`)
  await load.close()
}

/** What {@link latency} has before it: it brings so few streams itself that most of them would run code not yet compiled. */
export const warmUp = (proxy: Proxy): Promise<void> => shortOnes(proxy, WARM_STREAMS)

const churn = async (proxy: Proxy): Promise<number> => {
  await shortOnes(proxy, CHURN_STREAMS)
  await sleep(CHURN_REST_MILLIS)
  return rssMiB(proxy.pids)
}

const peakRss = async (proxy: Proxy, seconds: number): Promise<number> => {
  let peak = 0
  for (let i = 0; i < seconds * 5; i++) {
    peak = Math.max(peak, rssMiB(proxy.pids))
    await sleep(200)
  }
  return peak
}

/** Idle, with 200 paced streams, after short ones, and with 1000 readers that stopped while the worker goes on. */
export const rss = async (proxy: Proxy, timing: Timing): Promise<Memory> => {
  await sleep(2000)
  const idle = rssMiB(proxy.pids)
  const flowing = await Load.connect(proxy.address)
  for (let i = 0; i < 200; i++) flowing.start({ kind: "paced", rate: 50 })
  const paced = await peakRss(proxy, 2 * timing.seconds)
  await flowing.close()
  const churned: Array<number> = []
  for (let i = 0; i < CHURNS; i++) churned.push(await churn(proxy))
  const stuck = await Load.connect(proxy.address, { stalled: true })
  for (let i = 0; i < 1000; i++) stuck.start({ kind: "burst" })
  const stalled = await peakRss(proxy, 4 * timing.seconds)
  const sent = (stuck.tokens * TOKEN_BYTES) / 1024 / 1024
  await stuck.close()
  return { idle, paced, churned, stalled, sent }
}

/** 500 open streams of a token a second while 200 others end each second: delays of the proxy's event loop. */
export const loop = async (proxy: Proxy, timing: Timing): Promise<LoopFigures> => {
  const load = await Load.connect(proxy.address)
  for (let i = 0; i < 500; i++) load.start({ kind: "paced", rate: 1 })
  const opener = setInterval(() => {
    load.start({ kind: "short", tokens: 1, gapMillis: 0 })
  }, 5)
  await sleep(timing.warmup * 1000)
  await proxy.ask({ ask: "loop-start" })
  await sleep(timing.seconds * 1000)
  const told = await proxy.ask({ ask: "loop-stop" })
  clearInterval(opener)
  await load.close()
  if (told.told !== "loop") throw new Error("the instrument did not answer")
  return told.figures
}
