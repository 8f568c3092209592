import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Fiber, Layer } from "effect"
import { isatty } from "node:tty"
import { reloadTold } from "../internal/config/reloadTold.ts"
import { version } from "../internal/version.ts"
import * as Logging from "../layers/Logging.ts"
import * as TomlConfig from "../layers/TomlConfig.ts"
import { ConfigReload } from "../services/ConfigReload.ts"
import { eventTeller, type SidecarEvents } from "../services/SidecarEvents.ts"
import { unmended } from "./nodeVersion.ts"
import { runToEnd } from "./process.ts"

const listed = (addresses: string | ReadonlyArray<string>): string =>
  typeof addresses === "string" ? addresses : addresses.join(", ")

const fromEnvironment = ({ file, origins }: TomlConfig.Loaded): string =>
  [...new Set(Object.values(origins).filter((origin) => origin !== "default" && origin !== file))].join(", ")

/** The first lines of a daemon's log: who it is, where its settings come from, and those that matter most. */
const greet = (loaded: TomlConfig.Loaded): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { file, ignored, settings, warnings } = loaded
    yield* Effect.logInfo("starting cy-llm-sidecar").pipe(Effect.annotateLogs({ version, pid: process.pid }))
    yield* Effect.logInfo(
      file === undefined
        ? `no ./${TomlConfig.defaultFile}: loading config from defaults and the environment`
        : `loading config from ${file}`
    )
    const variables = fromEnvironment(loaded)
    yield* Effect.logInfo("configuration").pipe(Effect.annotateLogs({
      bind_addr: listed(settings.server.bind_addr),
      worker: settings.server.worker_uds,
      metrics_port: settings.observability.metrics_port,
      ...(variables === "" ? {} : { from_environment: variables })
    }))
    yield* Effect.forEach(warnings, (line) => Effect.logWarning(line))
    // The daemon's own wire does not stand on Node's HTTP/2.
    const faulty = settings.server.wire === "grpc-js" ? unmended(process.versions.node) : undefined
    if (faulty !== undefined) yield* Effect.logWarning(faulty)
    yield* Effect.forEach(ignored, (name) => Effect.logDebug(`${name} means nothing to the sidecar`))
  })

/**
 * SIGHUP reads the settings again. Where there is a terminal it means that this was closed, and ends the sidecar in order
 * (`endOnSignals`).
 */
const reloadOnHangUp: Layer.Layer<never, never, ConfigReload | SidecarEvents> = Layer.effectDiscard(
  Effect.gen(function*() {
    if (isatty(0)) return
    const reload = reloadTold(yield* ConfigReload, yield* eventTeller)
    const track = Fiber.runIn(yield* Effect.scope)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const onHangUp = () => void track(run(Effect.ignore(reload)))
    yield* Effect.acquireRelease(
      Effect.sync(() => process.on("SIGHUP", onHangUp)),
      () => Effect.sync(() => process.off("SIGHUP", onHangUp))
    )
  })
)

/** Runs the sidecar until a signal ends it; closing its scope is the drain. */
export const daemon = Effect.gen(function*() {
  const loaded = yield* TomlConfig.load()
  const Sidecar = yield* Effect.promise(() => import("../layers/Sidecar.ts"))
  return yield* greet(loaded).pipe(
    Effect.andThen(Layer.launch(Layer.provideMerge(reloadOnHangUp, Sidecar.layer))),
    Effect.onInterrupt(() => Effect.logInfo("stopped")),
    Effect.provide(Layer.provideMerge(Logging.layer, TomlConfig.layerLive(loaded)))
  )
})

/** The daemon as a program of its own. */
export const main = (): void => runToEnd(Effect.provide(daemon, NodeFileSystem.layer))
