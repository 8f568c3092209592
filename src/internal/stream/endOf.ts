import { Exit } from "effect"
import * as Status from "../../services/Status.ts"
import * as E from "../../services/StreamError.ts"
import type { Status as GrpcStatus } from "../../services/Wire.ts"
import { outcomeOf, statusOf } from "../wire/streamStatus.ts"
import type { StreamEnd } from "./streamEnv.ts"

/** What was true of a stream when it ended. */
export interface EndFacts {
  /** The gateway has the `end_of_stream` frame. */
  readonly ended: boolean
  /** Token chunks that the gateway has. */
  readonly delivered: number
  /** An RST now is the deadline's doing: gRPC libraries cancel then, and are seldom later than our own clock. */
  readonly missed: boolean
  /** The worker's last word. */
  readonly status: GrpcStatus | undefined
  /** Monotonic milliseconds. */
  readonly at: number
}

/** The gateway may take no more, so nothing is waited for. */
const AT_ONCE: ReadonlySet<E.StreamError["_tag"]> = new Set(["DeadlineExceeded", "SlowReader", "Draining", "Killed"])

/** After the `end_of_stream` frame these are no failure: many gateways stop reading there. */
const HARMLESS: ReadonlySet<E.StreamError["_tag"]> = new Set(["DeadlineExceeded", "GatewayGone", "Rejected"])

/** How a stream ended, from its exit alone. */
export const endOf = (exit: Exit.Exit<void, E.StreamError>, facts: EndFacts): StreamEnd => {
  const { at, delivered, ended, missed } = facts
  const error = Exit.isSuccess(exit)
    ? undefined
    : E.errorOf(exit.cause) ?? new E.GatewayGone({ departure: "cancelled" })
  if (error === undefined || (ended && HARMLESS.has(error._tag))) {
    const status = error === undefined ? facts.status ?? Status.ok : Status.ok
    return { status, outcome: "completed", grpcStatus: status.code, delivery: "flush", at }
  }
  const told = error._tag === "GatewayGone" && missed ? new E.DeadlineExceeded({ delivered }) : error
  const status = statusOf(told)
  const delivery = AT_ONCE.has(told._tag) ? "now" : "flush"
  return { status, outcome: outcomeOf(told), grpcStatus: status.code, delivery, at }
}
