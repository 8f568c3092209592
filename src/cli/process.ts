import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect } from "effect"
import { report, teardown } from "./exit.ts"

const codes = { SIGINT: 130, SIGTERM: 143 } as const

/** The first SIGINT or SIGTERM ends the program in order (`runMain` interrupts it), the second one at once. */
const endOnSecondSignal = (): void => {
  let asked = false
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (asked) process.exit(codes[signal])
      asked = true
    })
  }
}

/** A reader of our output that leaves (`| head`) is told by the write itself, not by an uncaught error. */
const tolerateBrokenPipe = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})
}

/** Runs the program that this process is. Its failure is told on stderr and by the exit code. */
export const runToEnd = <E>(program: Effect.Effect<void, E>): void => {
  endOnSecondSignal()
  tolerateBrokenPipe()
  NodeRuntime.runMain(Effect.tapCause(program, report), { teardown, disableErrorReporting: true })
}
