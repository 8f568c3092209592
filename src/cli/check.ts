import { Console, Effect, type FileSystem, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { shownSettings } from "../internal/config/liveSettings.ts"
import { renderJson, renderProblems, renderText } from "../internal/config/report.ts"
import * as TomlConfig from "../layers/TomlConfig.ts"
import type { ConfigError } from "../services/SidecarConfig.ts"
import { ExitCode, quietly } from "./exit.ts"
import { jsonFlag } from "./flags.ts"
import { connect, peerFlags } from "./peer.ts"
import { compareWithRunning } from "./settings.ts"

/** How the settings are checked and printed. */
export interface CheckOptions extends TomlConfig.LoadOptions {
  /** JSON for programs instead of TOML for people. Default: false. */
  readonly json?: boolean | undefined
  /** Default: false. */
  readonly color?: boolean | undefined
}

/**
 * Validates the settings and prints those in force on stdout, warnings on stderr. Fails with the mistakes, which
 * whoever runs the program prints on stderr; for programs they are on stdout too.
 */
export const printSettings = Effect.fn("sidecar.check")(
  function*(options?: CheckOptions): Effect.fn.Return<void, ConfigError, FileSystem.FileSystem> {
    const json = options?.json === true
    const loaded = yield* TomlConfig.load(options).pipe(
      Effect.tapError(({ problems }) => json ? Console.log(renderProblems(problems)) : Effect.void)
    )
    yield* Console.log(json ? renderJson(loaded) : renderText(loaded, { color: options?.color }))
    if (json) return
    yield* Effect.forEach(loaded.warnings, (line) => Console.error(`warning: ${line}`))
    yield* Effect.forEach(loaded.ignored, (name) => Console.error(`note: ${name} means nothing to the sidecar`))
  }
)

/** `sidecar check [file] [--json]` */
export const check = Command.make(
  "check",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("The file to check, instead of SIDECAR_CONFIG or ./sidecar.toml"),
      Argument.optional
    ),
    json: jsonFlag,
    running: Flag.Boolean("running").pipe(
      Flag.withDescription(
        "Show only what differs from the settings of the sidecar that runs, and what it would take to change it; exit code 1 when something does"
      ),
      Flag.withDefault(false)
    ),
    ...peerFlags
  },
  ({ file, json, running, ...peer }) =>
    running
      ? Effect.scoped(Effect.gen(function*() {
        const { settings } = yield* TomlConfig.load({ file: Option.getOrUndefined(file) })
        const code = yield* compareWithRunning(yield* connect(peer), shownSettings(settings))
        if (code !== ExitCode.ok) return yield* quietly(code)
      }))
      : printSettings({
        json,
        file: Option.getOrUndefined(file),
        color: process.stdout.isTTY && process.env["NO_COLOR"] === undefined
      })
).pipe(
  Command.withDescription("Check the configuration, print what is in force and where each value comes from")
)
