import { Effect } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import type { InferenceProxy } from "../../services/InferenceProxy.ts"
import type { LimitTeller } from "../../services/Limits.ts"
import * as Status from "../../services/Status.ts"
import * as E from "../../services/StreamError.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { frame } from "../wire/frames.ts"
import { lastBytes, visit } from "../wire/protobuf.ts"
import { statusOf } from "../wire/streamStatus.ts"
import { answer } from "./answer.ts"
import type { LoadReports } from "./loadReport.ts"
import type { LoadReporting } from "./loadReportedCall.ts"
import { oneRequest, type UnaryOptions } from "./unary.ts"

export const OPEN_RCA = "xds.service.orca.v3.OpenRcaService"

/** Milliseconds between two reports to one caller: the shortest, and the longest that a timer can be set to. */
const SHORTEST = 1000
const LONGEST = 24 * 60 * 60 * 1000
/** A client has one such call a connection; a proxy has one for each gateway behind it. Unix sockets are one peer. */
const MOST_PER_PEER = 64

export interface OrcaOptions extends UnaryOptions {
  readonly proxy: InferenceProxy["Service"]
  readonly reports: LoadReports
  readonly reporting: () => LoadReporting
  readonly limits: LimitTeller
}

/** `report_interval` of OrcaLoadReportRequest, within bounds. */
const intervalOf = (request: Uint8Array): number => {
  let [seconds, nanos] = [0, 0]
  const read = visit(lastBytes(request, 1) ?? new Uint8Array(), {
    varint: (field, value) => {
      if (field === 1) seconds = value
      else if (field === 2) nanos = value
    }
  })
  const millis = read ? seconds * 1000 + nanos / 1e6 : 0
  return Math.min(LONGEST, Math.max(SHORTEST, millis))
}

const unimplemented = Status.make(
  Status.Code.UNIMPLEMENTED,
  "Load reports are turned off ([server] load_reports)"
)
const draining = Status.make(Status.Code.UNAVAILABLE, "Sidecar is draining", { "cy-reason": "draining" })

/**
 * `xds.service.orca.v3.OpenRcaService` (gRFC A51, out-of-band): one report at once, then one each interval. A caller that does
 * not read gets the next one when it reads again; the drain ends it.
 */
export const orcaRoutes = (options: OrcaOptions): ReadonlyArray<readonly [string, CallHandler]> => {
  const { limits, proxy, reporting, reports } = options
  const byPeer = new Map<string, number>()

  const counted = <A>(call: ServerCall, effect: Effect.Effect<A, GrpcStatus>): Effect.Effect<A, GrpcStatus> =>
    Effect.suspend(() => {
      const { address } = call.peer
      const open = byPeer.get(address) ?? 0
      if (open >= MOST_PER_PEER) {
        limits.reached("own_calls", () => `${address} has ${open} calls for load reports open: one more was refused`)
        return Effect.fail(statusOf(new E.TooManyCalls({ kind: "own", limit: MOST_PER_PEER })))
      }
      byPeer.set(address, open + 1)
      return Effect.ensuring(
        effect,
        Effect.sync(() => {
          const left = (byPeer.get(address) ?? 1) - 1
          if (left > 0) byPeer.set(address, left)
          else byPeer.delete(address)
        })
      )
    })

  const untilDrained: Effect.Effect<GrpcStatus> = Effect.callback((resume) => {
    const look = (): void => {
      if (!proxy.draining()) return
      stop()
      resume(Effect.succeed(draining))
    }
    const stop = proxy.onDraining(look)
    look()
    return Effect.sync(stop)
  })

  const stream: CallHandler = (call) => {
    if (reporting() === "off") return answer(call, options.handled, Effect.fail(unimplemented))
    // Nobody writes to a caller that does not read.
    const report = Effect.suspend(() => call.write(frame(reports.bytes())) ? Effect.void : call.writable)
    return answer(
      call,
      options.handled,
      options.calls.counted(
        call,
        counted(
          call,
          Effect.flatMap(oneRequest(call, options), (request) =>
            Effect.raceFirst(
              report.pipe(Effect.andThen(Effect.sleep(intervalOf(request))), Effect.forever),
              untilDrained
            ))
        )
      )
    )
  }

  return [[`/${OPEN_RCA}/StreamCoreMetrics`, stream]]
}
