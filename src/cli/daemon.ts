import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Fiber, Layer, type Scope } from "effect"
import { isatty } from "node:tty"
import { reloadTold } from "../internal/config/reloadTold.ts"
import { version } from "../internal/version.ts"
import * as Logging from "../layers/Logging.ts"
import * as TomlConfig from "../layers/TomlConfig.ts"
import { ConfigReload } from "../services/ConfigReload.ts"
import { eventTeller, type SidecarEvents } from "../services/SidecarEvents.ts"
import { boundHeap } from "./boundHeap.ts"
import type { Engine } from "./engine.ts"
import { unmended } from "./nodeVersion.ts"
import { runToEnd } from "./process.ts"
import { loopShare, whenBusy, wheneverItRests } from "./workload.ts"

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

/** What a SIGHUP does. */
interface HangUps {
  /** One came before there was somebody to reload. */
  missed: boolean
  reload: (() => void) | undefined
}

/**
 * SIGHUP reads the settings again, from the first moment: a service manager may reload what it has just started. Where there is
 * a terminal it means that this was closed, and ends the sidecar in order (`endOnSignals`).
 */
const listenForHangUps: Effect.Effect<HangUps, never, Scope.Scope> = Effect.suspend(() => {
  const hangUps: HangUps = { missed: false, reload: undefined }
  if (isatty(0)) return Effect.succeed(hangUps)
  const onHangUp = (): void => {
    if (hangUps.reload === undefined) hangUps.missed = true
    else hangUps.reload()
  }
  return Effect.acquireRelease(
    Effect.as(Effect.sync(() => process.on("SIGHUP", onHangUp)), hangUps),
    () => Effect.sync(() => process.off("SIGHUP", onHangUp))
  )
})

const reloadOnHangUp = (hangUps: HangUps): Layer.Layer<never, never, ConfigReload | SidecarEvents> =>
  Layer.effectDiscard(
    Effect.gen(function*() {
      const reload = reloadTold(yield* ConfigReload, yield* eventTeller)
      const track = Fiber.runIn(yield* Effect.scope)
      const run = Effect.runForkWith(yield* Effect.context<never>())
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          hangUps.reload = () => void track(run(Effect.ignore(reload)))
          if (hangUps.missed) hangUps.reload()
        }),
        () => Effect.sync(() => void (hangUps.reload = undefined))
      )
    })
  )

/** Runs the sidecar until a signal ends it; closing its scope is the drain. `beside` is built when it serves. */
const runWith = (beside: Layer.Layer<never>) =>
  Effect.scoped(Effect.gen(function*() {
    const hangUps = yield* listenForHangUps
    const loaded = yield* TomlConfig.load()
    const Sidecar = yield* Effect.promise(() => import("../layers/Sidecar.ts"))
    return yield* greet(loaded).pipe(
      Effect.andThen(Layer.launch(Layer.provideMerge(Layer.merge(beside, reloadOnHangUp(hangUps)), Sidecar.layer))),
      Effect.onInterrupt(() => Effect.logInfo("stopped")),
      Effect.provide(Layer.provideMerge(Logging.layer, TomlConfig.layerLive(loaded)))
    )
  }))

/** Runs the sidecar until a signal ends it. */
export const daemon = Effect.andThen(Effect.sync(boundHeap), runWith(Layer.empty))

/**
 * A sidecar that has started: it tidies up when nobody comes, wakes its engine when there is work to do, and gives memory back
 * when the work is over, each time.
 */
const settle = (engine: Engine): Effect.Effect<never> =>
  Effect.suspend(() => whenBusy(loopShare(), engine.collect)).pipe(
    Effect.andThen(Effect.sync(() => {
      engine.wake()
      boundHeap()
    })),
    Effect.andThen(Effect.suspend(() => wheneverItRests(loopShare(), engine.collect)))
  )

/** The daemon as a program of its own. */
export const main = (engine: Engine): void => {
  const settling = Layer.effectDiscard(Effect.forkScoped(settle(engine)))
  runToEnd(Effect.provide(runWith(settling), NodeFileSystem.layer))
}
