import type { CallStart, Metadata, ServerCall } from "../../services/Wire.ts"
import type { Watchdog } from "./watchdog.ts"

/** What of a gateway's call goes to the worker; the time that is left is what is left when it is opened. */
export class Onward implements CallStart {
  readonly path: string
  readonly metadata: Metadata
  readonly encoding: string | undefined
  readonly #deadlineAt: number
  readonly #watchdog: Watchdog

  /** `metadata`: what may pass. `deadlineAt`: monotonic milliseconds. */
  constructor(call: ServerCall, metadata: Metadata, deadlineAt: number, watchdog: Watchdog) {
    this.path = call.path
    this.metadata = metadata
    this.encoding = call.encoding
    this.#deadlineAt = deadlineAt
    this.#watchdog = watchdog
  }

  get timeoutMillis(): number | undefined {
    const deadlineAt = this.#deadlineAt
    return deadlineAt === Number.POSITIVE_INFINITY ? undefined : Math.max(1, deadlineAt - this.#watchdog.now())
  }
}
