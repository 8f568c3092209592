import { Data, Deferred, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import * as readline from "node:readline"
import { fileURLToPath } from "node:url"
import { packageFile } from "../../internal/packageFile.ts"

/** A part of the demo did not come up, or went away. */
export class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly message: string }> {}

/** One line of a child's JSON log. */
export type LogLine = Readonly<Record<string, unknown>>

export interface Child {
  readonly pid: number
  /** The first line that has this message, also when it has already been said. */
  readonly awaitLine: (msg: string) => Effect.Effect<LogLine, DemoFailed>
}

/** Lines that a child may say before somebody waits for them; also what is shown when it fails. */
const REMEMBERED_LINES = 200
const SHOWN_LINES = 8
/** What a child gets to end by itself after SIGTERM. */
const STOP_MILLIS = 10_000
const START_MILLIS = 30_000

/** The program itself; where it is bundled, this code is a file beside it. */
const MAIN = fileURLToPath(
  import.meta.url.endsWith(".ts") ? packageFile("src/main.ts") : new URL("sidecar.js", import.meta.url)
)

const parse = (line: string): LogLine | undefined => {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === "object" && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** The environment without our settings: the demo brings its own. */
const cleanEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SIDECAR_")))

/**
 * Starts this program again as a process of its own, with JSON logs. It is stopped with SIGTERM when the scope closes, and
 * never outlives this process.
 */
export const start = (
  name: string,
  args: ReadonlyArray<string>,
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string>> }
): Effect.Effect<Child, DemoFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const exited = yield* Deferred.make<string>()
    const lines: Array<string> = []
    const listeners = new Set<(line: LogLine) => void>()

    const child = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(process.execPath, [MAIN, ...args], {
          cwd: options.cwd,
          env: { ...cleanEnvironment(), ...options.env },
          stdio: ["ignore", "pipe", "pipe"]
        })
        const hear = (line: string) => {
          lines.push(line)
          if (lines.length > REMEMBERED_LINES) lines.shift()
          const parsed = parse(line)
          if (parsed !== undefined) { for (const listener of listeners) listener(parsed) }
        }
        readline.createInterface(child.stdout).on("line", hear)
        readline.createInterface(child.stderr).on("line", hear)
        child.on("error", (error) => Deferred.doneUnsafe(exited, Effect.succeed(error.message)))
        child.on("close", (code, signal) =>
          Deferred.doneUnsafe(exited, Effect.succeed(signal === null ? `exit code ${code}` : `signal ${signal}`)))
        const killWithUs = () =>
          child.kill("SIGKILL")
        process.on("exit", killWithUs)
        child.on("close", () =>
          process.off("exit", killWithUs))
        return child
      }),
      (child) =>
        Effect.sync(() => child.kill("SIGTERM")).pipe(
          Effect.andThen(Deferred.await(exited)),
          Effect.timeoutOrElse({
            duration: STOP_MILLIS,
            orElse: () => Effect.andThen(Effect.sync(() => child.kill("SIGKILL")), Deferred.await(exited))
          })
        )
    )

    const lastWords = () => lines.slice(-SHOWN_LINES).map((line) => `\n  ${line}`).join("")
    const gone = Effect.flatMap(Deferred.await(exited), (how) =>
      Effect.fail(new DemoFailed({ message: `the ${name} ended by itself (${how})${lastWords()}` })))

    const awaitLine = (msg: string): Effect.Effect<LogLine, DemoFailed> =>
      Effect.callback<LogLine>((resume) => {
        const listener = (line: LogLine) => {
          if (line.msg === msg) {
            resume(Effect.succeed(line))
          }
        }
        listeners.add(listener)
        for (const line of lines) {
          listener(parse(line) ?? {})
        }
        return Effect.sync(() =>
          listeners.delete(listener)
        )
      }).pipe(
        Effect.raceFirst(gone),
        Effect.timeoutOrElse({
          duration: START_MILLIS,
          orElse: () =>
            Effect.fail(
              new DemoFailed({
                message: `the ${name} did not say "${msg}" within ${START_MILLIS / 1000} s${lastWords()}`
              })
            )
        })
      )
    return { pid: child.pid ?? 0, awaitLine }
  })
