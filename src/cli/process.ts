import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect } from "effect"
import { report, teardown } from "./exit.ts"

const codes = { SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 } as const

/** One Ctrl-C under `npm start` comes twice: from the terminal and from npm, which passes it on. */
const SAME_KEY_MILLIS = 300

/**
 * The first SIGINT, SIGTERM, SIGQUIT or SIGHUP ends the program in order, the second one at once. A SIGHUP is never the
 * second: a terminal that closes may send several; and it ends nothing where somebody else listens to it. SIGUSR1, which would open Node's debugger, does nothing.
 */
const endOnSignals = (): void => {
  let asked = false
  let interruptedAt = Number.NEGATIVE_INFINITY
  /** `runMain` listens to SIGINT and SIGTERM only. */
  const endInOrder = () => process.emit("SIGTERM", "SIGTERM")
  process.on("SIGINT", () => {
    const now = performance.now()
    if (asked && now - interruptedAt > SAME_KEY_MILLIS) process.exit(codes.SIGINT)
    asked = true
    interruptedAt = now
  })
  process.on("SIGTERM", () => {
    if (asked) process.exit(codes.SIGTERM)
    asked = true
  })
  process.on("SIGQUIT", () => {
    if (asked) process.exit(codes.SIGQUIT)
    endInOrder()
  })
  process.on("SIGHUP", () => {
    // A daemon without a terminal reads its settings again.
    if (!asked && process.listenerCount("SIGHUP") === 1) endInOrder()
  })
  process.on("SIGUSR1", () => {})
}

/** A reader of our output that leaves (`| head`) is told by the write itself, not by an uncaught error. */
const tolerateBrokenPipe = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})
}

/** Runs the program that this process is. Its failure is told on stderr and by the exit code. */
export const runToEnd = <E>(program: Effect.Effect<void, E>): void => {
  endOnSignals()
  tolerateBrokenPipe()
  NodeRuntime.runMain(Effect.tapCause(program, report), { teardown, disableErrorReporting: true })
}
