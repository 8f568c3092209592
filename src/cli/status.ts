import { Effect, Schedule } from "effect"
import { Command } from "effect/cli"
import { type CliExit, ExitCode, quietly } from "./exit.ts"
import { jsonFlag, watchFlag } from "./flags.ts"
import { notASidecar, order, type Payload } from "./order.ts"
import { connect, type Peer, peerFlags, reachable } from "./peer.ts"
import { CLEAR_SCREEN, duration, onStdout, print, printLine } from "./terminal.ts"

const ask = (peer: Peer): Effect.Effect<Payload, CliExit> =>
  Effect.filterOrFail(
    order(peer, "sidecar.status"),
    (payload) => payload.worker_state !== undefined,
    () => notASidecar(peer.address)
  )

const number = (payload: Payload, key: string): number => Number(payload[key] ?? 0)

const tints: Readonly<Record<string, (text: string) => string>> = {
  Connected: onStdout.green,
  Reloading: onStdout.yellow,
  Connecting: onStdout.yellow,
  Disconnected: onStdout.red
}

/** Reason and detail; a detail that begins with the reason's word says it already. */
const why = (reason = "", detail = ""): string =>
  reason === "" || detail.toLowerCase().startsWith(reason.toLowerCase()) ? detail : `${reason}: ${detail}`

/** Durations as the sidecar measured them: its wall clock, and ours, can be set. */
const worker = (payload: Payload): ReadonlyArray<readonly [string, string]> => {
  const state = payload.worker_state ?? ""
  const due = duration(number(payload, "worker_due_secs"))
  const until = payload.worker_until === undefined ? "" : `, back in about ${due}`
  const attempt = payload.worker_attempt === undefined ? "" : ` (attempt ${payload.worker_attempt})`
  const retry = payload.worker_retry_at === undefined ? "" : `in ${due}${attempt}`
  return [
    [
      "worker",
      `${(tints[state] ?? onStdout.bold)(state)} for ${duration(number(payload, "worker_since_secs"))}${until}`
    ],
    ["reason", why(payload.worker_reason, payload.worker_detail)],
    ["remedy", payload.worker_remedy ?? ""],
    ["next try", retry]
  ]
}

/** An address, unless it leaves the port to the system: then this says nothing. */
const known = (address: string | undefined): string => address === undefined || address.endsWith(":0") ? "" : address

const requests = (payload: Payload): string => {
  const [ok, failed] = [
    number(payload, "sidecar_requests_success_total"),
    number(payload, "sidecar_requests_failed_total")
  ]
  const ratio = ok + failed === 0 ? "" : `, ${(100 * ok / (ok + failed)).toFixed(1)} % success`
  return `${number(payload, "sidecar_requests_total")} in all: ${ok} completed, ${failed} failed, `
    + `${number(payload, "sidecar_requests_cancelled_total")} cancelled${ratio}`
}

/** Said only while something is the matter. */
const billing = (payload: Payload): ReadonlyArray<readonly [string, string]> =>
  payload.billing === "failing"
    ? [
      [
        "billing",
        `${onStdout.yellow("failing")} for ${duration(number(payload, "billing_since_secs"))}: ${
          why(payload.billing_reason, payload.billing_detail)
        }`
      ],
      ["remedy", payload.billing_remedy ?? ""]
    ]
    : []

/** The answer of `sidecar.status` as a table for people; a row without a value is left out. */
export const render = (payload: Payload): string => {
  const draining = payload.draining === "true" ? onStdout.yellow(", draining") : ""
  const rows: ReadonlyArray<readonly [string, string]> = [
    ["sidecar", `${payload.version ?? ""}, up ${duration(number(payload, "uptime_secs"))}${draining}`],
    ...worker(payload),
    [
      "streams",
      `${number(payload, "streams_in_flight")} in flight, ${number(payload, "streams_held")} held, `
      + `${number(payload, "sidecar_streams_queued")} queued`
    ],
    ["requests", requests(payload)],
    ["tokens", String(number(payload, "tokens"))],
    ["usage", payload.usage_waiting === undefined ? "" : `${payload.usage_waiting} records wait in the journal`],
    ...billing(payload),
    ["gRPC", known(payload.bind_addr)],
    ["metrics", known(payload.metrics_addr) === "" ? "" : `http://${reachable(known(payload.metrics_addr))}/metrics`],
    [payload.worker_uds?.startsWith("tcp:") === true ? "address" : "socket", payload.worker_uds ?? ""]
  ]
  return rows.filter(([, value]) => value !== "")
    .map(([name, value]) => `${onStdout.dim(name.padEnd(9))} ${value}`)
    .map((line) => line.split("\n").join(" "))
    .join("\n")
}

/** Values that are text whatever they look like. */
const texts: ReadonlySet<string> = new Set([
  "version",
  "worker_detail",
  "worker_remedy",
  "billing_detail",
  "billing_remedy"
])

/** On the wire all values are text (`map<string, string>`); programs are given numbers as numbers. */
const asJson = (payload: Payload): string =>
  JSON.stringify(
    payload,
    (key, value: unknown) =>
      typeof value === "string" && !texts.has(key) && /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/.test(value)
        ? Number(value)
        : value
  )

const once = (peer: Peer, json: boolean) =>
  Effect.gen(function*() {
    const payload = yield* ask(peer)
    yield* printLine(json ? asJson(payload) : render(payload))
    return payload
  })

const watch = (peer: Peer, json: boolean) =>
  ask(peer).pipe(
    Effect.matchEffect({
      onFailure: (error) =>
        Effect.succeed(json ? JSON.stringify({ status: "error", message: error.message }) : error.message),
      onSuccess: (payload) => Effect.succeed(json ? asJson(payload) : render(payload))
    }),
    Effect.flatMap((text) => print(!json && process.stdout.isTTY ? `${CLEAR_SCREEN}${text}\n` : `${text}\n`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )

/**
 * `sidecar status`: what a running sidecar says of itself. Exit code 0 when its worker is connected, 1 when it is not,
 * 69 when no sidecar answers.
 */
export const status = Command.make(
  "status",
  {
    ...peerFlags,
    json: jsonFlag,
    watch: watchFlag
  },
  (given) =>
    Effect.gen(function*() {
      const peer = yield* connect(given)
      if (given.watch) return yield* Effect.asVoid(watch(peer, given.json))
      const payload = yield* once(peer, given.json)
      if (payload.worker_state !== "Connected") return yield* quietly(ExitCode.failure)
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription("Ask a running sidecar how it is; exit code 0: worker connected, 1: not, 69: no sidecar")
)
