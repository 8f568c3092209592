import { Cause, Data, Effect, Exit, Runtime } from "effect"

/** Exit codes, as sysexits.h names them. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 64,
  dataError: 65,
  noInput: 66,
  unavailable: 69,
  software: 70,
  cannotCreate: 73,
  temporary: 75,
  noPermission: 77,
  config: 78,
  interrupted: 130
} as const

/** Ends the process with a code. `message`, if there is one, is printed as one line. */
export class CliExit extends Data.TaggedError("CliExit")<{ readonly code: number; readonly message: string }> {
  override readonly [Runtime.errorExitCode]: number = this.code
}

/** Ends the process with a code and without a word: everything has been said. */
export const quietly = (code: number): CliExit => new CliExit({ code, message: "" })

/** Codes of failures whose classes name none themselves. */
const codeByTag: ReadonlyMap<string, number> = new Map([
  ["BindError", ExitCode.unavailable],
  ["ConfigError", ExitCode.config],
  ["JournalError", ExitCode.cannotCreate]
])

const tagOf = (failure: unknown): string =>
  typeof failure === "object" && failure !== null && "_tag" in failure && typeof failure._tag === "string"
    ? failure._tag
    : ""

/** The exit code of a failed program. Interrupted by a signal: 0, everything was closed in order. */
export const exitCodeOf = <E>(cause: Cause.Cause<E>): number => {
  if (Cause.hasInterruptsOnly(cause)) return ExitCode.ok
  if (Cause.hasDies(cause)) return ExitCode.software
  const failure = Cause.squash(cause)
  if (typeof failure === "object" && failure !== null && Runtime.errorExitCode in failure) {
    return Runtime.getErrorExitCode(failure)
  }
  return codeByTag.get(tagOf(failure)) ?? ExitCode.failure
}

/** `process.exitCode`, set by a command that wants another code than 0 when it is interrupted. */
export const teardown: Runtime.Teardown = (exit, onExit) => {
  const wished = typeof process.exitCode === "number" ? process.exitCode : ExitCode.ok
  if (Exit.isSuccess(exit)) return onExit(wished)
  onExit(Cause.hasInterruptsOnly(exit.cause) ? wished : exitCodeOf(exit.cause))
}

/** What a failure says to the person at the terminal; a mistake of ours says where it happened as well. */
export const complaintOf = <E>(cause: Cause.Cause<E>): string => {
  if (Cause.hasInterruptsOnly(cause)) return ""
  if (Cause.hasDies(cause)) return `internal error, please report it: ${Cause.pretty(cause)}`
  const failure = Cause.squash(cause)
  const tag = tagOf(failure)
  if (tag === "ShowHelp") return ""
  const message = failure instanceof Error ? failure.message : String(failure)
  return message === "" && tag !== "CliExit" ? tag : message
}

/** Prints a failure on stderr, each line with the program's name and none with a stack. */
export const report = <E>(cause: Cause.Cause<E>): Effect.Effect<void> =>
  Effect.sync(() => {
    const complaint = complaintOf(cause)
    if (complaint === "") return
    const lines = Cause.hasDies(cause) ? [complaint] : complaint.split("\n")
    process.stderr.write(lines.map((line) => `sidecar: ${line}\n`).join(""))
  })
