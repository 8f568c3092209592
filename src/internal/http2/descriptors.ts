import { Effect } from "effect"
import { closeSync, openSync, readFileSync } from "node:fs"
import { isOutOfFiles } from "../openFiles.ts"

/** Descriptors that gateways never get: for the worker, the journal, the operators' port, and what Node needs itself. */
const KEPT = 128

/** The process' limit of open files; infinite where the system does not say. */
const openFiles = (): number => {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** How many connections the process may have; fewer than `[server] max_connections` asks for is told. */
export const possibleConnections = (wanted: number): Effect.Effect<number> =>
  Effect.suspend(() => {
    const files = openFiles()
    const possible = Math.max(16, files - KEPT)
    if (possible >= wanted) return Effect.succeed(possible)
    return Effect.as(
      Effect.logWarning(
        `[server] max_connections = ${wanted} is more than the limit of open files (${files}) allows: ${possible} it is`
      ),
      possible
    )
  })

/** How often is looked whether a descriptor can be had. */
const LOOK = "1 second"

const hasOne = (): boolean => {
  try {
    closeSync(openSync("/dev/null", "r"))
    return true
  } catch (error) {
    return !(error instanceof Error && "code" in error && isOutOfFiles(String(error.code)))
  }
}

/**
 * Tells, again and again, while the process has no descriptor left. Nobody else does: libuv accepts such connections with
 * one that it has put by, closes them at once, and Node hears nothing of it.
 */
export const watchDescriptors = (onNone: () => void): Effect.Effect<never> =>
  Effect.forever(Effect.andThen(
    Effect.sleep(LOOK),
    Effect.sync(() => {
      if (!hasOne()) onNone()
    })
  ))
