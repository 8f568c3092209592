import * as E from "../../services/StreamError.ts"
import type { StreamEnv } from "./streamEnv.ts"

/** A stream whose patience is over, for what it waited. */
export interface Overdue {
  readonly phase: "held" | "queued" | "open"
  /** Milliseconds that it has been held or queued. */
  readonly waitedMillis: number
  /** Token chunks that the gateway has. */
  readonly delivered: number
}

/** Why a stream is ended that has waited too long for a worker, for a place at it, or for its next frame. */
export const overdue = ({ delivered, phase, waitedMillis }: Overdue, env: StreamEnv): E.StreamError => {
  const retryAfterMillis = env.connection.retryAfterMillis()
  switch (phase) {
    case "held":
      return new E.HoldTimeout({ heldMillis: waitedMillis, retryAfterMillis })
    case "queued":
      return new E.QueueTimeout({ queuedMillis: waitedMillis, retryAfterMillis })
    case "open":
      return delivered === 0
        ? new E.StreamIdle({ phase: "first_token", idleSecs: env.firstTokenMillis / 1000, delivered })
        : new E.StreamIdle({ phase: "idle", idleSecs: env.idleMillis / 1000, delivered })
  }
}
