import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { check } from "./cli/check.ts"
import { daemon } from "./cli/daemon.ts"
import { demo } from "./cli/demo.ts"
import { events } from "./cli/events.ts"
import { ExitCode, quietly } from "./cli/exit.ts"
import { orders } from "./cli/orders.ts"
import { predict } from "./cli/predict.ts"
import { runToEnd } from "./cli/process.ts"
import { run } from "./cli/run.ts"
import { logLevel, reload } from "./cli/settings.ts"
import { status } from "./cli/status.ts"
import { stream, streams } from "./cli/streams.ts"
import { usage } from "./cli/usage.ts"
import { worker } from "./cli/worker.ts"
import { version } from "./internal/version.ts"

const root = Command.make("sidecar", {}, () => daemon).pipe(
  Command.withDescription("A resilient gRPC sidecar beside an LLM inference worker. Without a command it runs."),
  Command.withSubcommands([
    run,
    demo,
    check,
    status,
    events,
    streams,
    stream,
    ...orders,
    reload,
    logLevel,
    predict,
    worker,
    usage
  ])
)

/** "…; did you mean worker?" */
const inOneLine = (message: string): string =>
  message
    .replace(/\s*Did you mean this\?\s*([\s\S]+)$/, (_, names: string) =>
      `; did you mean ${names.split(/\s+/).join(" or ")}?`)
    .replace(/\s*\n\s*/g, " ")

/** A wrong command line is answered in one line, not with a page of help. */
const presenter: CliOutput.Presenter = {
  present: (event) => {
    if (event._tag !== "InvalidInvocation") return CliOutput.defaultPresenter.present(event)
    return Effect.sync(() => {
      const lines = event.errors.map(({ message }) => `sidecar: ${inOneLine(message)}`)
      lines.push(`Try: ${event.commandPath.join(" ")} --help`)
      process.stderr.write(`${lines.join("\n")}\n`)
    })
  }
}

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions]

/** The whole command line, on the arguments of this process. */
export const main = (): void =>
  Command.run(root, { version }).pipe(
    Effect.catchTag("ShowHelp", ({ errors }) => errors.length > 0 ? Effect.fail(quietly(ExitCode.usage)) : Effect.void),
    Effect.provide(
      Layer.mergeAll(NodeServices.layer, CliConfig.layer({ builtIns }), CliOutput.layerPresenter(presenter))
    ),
    runToEnd
  )
