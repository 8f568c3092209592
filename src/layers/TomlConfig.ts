import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Config, Effect, FileSystem, Layer, Option, type PlatformError, Result, Semaphore } from "effect"
import { resolve as resolvePath } from "node:path"
import { type Reading, readSettings, readToml } from "../internal/config/document.ts"
import { type Env, readEnvironment } from "../internal/config/environment.ts"
import { fileVariable, keys } from "../internal/config/keys.ts"
import { LiveSettings } from "../internal/config/liveSettings.ts"
import { type Origins, resolve } from "../internal/config/resolve.ts"
import { tlsFiles } from "../internal/wire/tlsFiles.ts"
import { readToken } from "../internal/wire/workerTokenFile.ts"
import { ConfigReload } from "../services/ConfigReload.ts"
import {
  ConfigError,
  type ConfigProblem,
  type PartialSettings,
  type Settings,
  SidecarConfig
} from "../services/SidecarConfig.ts"

export type { Origins } from "../internal/config/resolve.ts"

/** The file that is read when `SIDECAR_CONFIG` names none. */
export const defaultFile = "sidecar.toml"

/** Where settings are looked for. */
export interface LoadOptions {
  /** A file that must exist; goes before `SIDECAR_CONFIG`. Default: what the environment says. */
  readonly file?: string | undefined
  /** Default: the environment of this process. */
  readonly env?: Env | undefined
  /** What a relative file name is relative to. Default: the working directory of this process. */
  readonly cwd?: string | undefined
}

/** The settings in force, and where they come from. */
export interface Loaded {
  readonly settings: Settings
  /** By key: `"default"`, the file's name as in `file`, or the environment variable. */
  readonly origins: Origins
  /** The file that was read, as it was named; `undefined` when there is none. */
  readonly file: string | undefined
  /** One line each, for the log: variables that look like a slip. */
  readonly warnings: ReadonlyArray<string>
  /** Variables that start with `SIDECAR_` and mean nothing to us. */
  readonly ignored: ReadonlyArray<string>
}

const fail = (problems: ReadonlyArray<ConfigProblem>): Effect.Effect<never, ConfigError> => {
  const [first = { source: "settings", message: "unusable" }, ...rest] = problems
  return Effect.fail(new ConfigError({ problems: [first, ...rest] }))
}

const mistake = (problem: ConfigProblem): Reading => ({ values: new Map(), problems: [problem] })

const decodeText = (name: string, bytes: Uint8Array): Reading => {
  try {
    return readToml(name, new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  } catch {
    return mistake({ source: name, message: "is not UTF-8 text; save it as UTF-8" })
  }
}

const whyUnreadable = ({ reason }: PlatformError.PlatformError): string => {
  switch (reason._tag) {
    case "NotFound":
      return "does not exist"
    case "PermissionDenied":
      return "may not be read by this user; give it read permission"
    case "BadResource":
      return "is not a file"
    default:
      return `cannot be read (${reason._tag})`
  }
}

interface Place {
  readonly name: string
  /** Who named it; `undefined`: nobody did, and it may be missing. */
  readonly namedBy: string | undefined
}

const placeOf = (file: string | undefined, env: Env): Place => {
  const variable = env[fileVariable]
  if (file !== undefined) return { name: file, namedBy: file }
  return variable === undefined || variable === ""
    ? { name: defaultFile, namedBy: undefined }
    : { name: variable, namedBy: fileVariable }
}

const unreadable = ({ name, namedBy }: Place, why: string): Reading =>
  mistake(
    namedBy === fileVariable
      ? { source: namedBy, message: `${name} ${why}; name a TOML file, or unset it to read ./${defaultFile}` }
      : { source: name, message: why }
  )

/** `undefined`: there is no file, and nobody asked for one. */
const readFile = Effect.fnUntraced(function*(place: Place, cwd: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.readFile(resolvePath(cwd, place.name)).pipe(
    Effect.map((bytes): Reading | undefined => decodeText(place.name, bytes)),
    Effect.catch((error) =>
      Effect.succeed(
        error.reason._tag === "NotFound" && place.namedBy === undefined
          ? undefined
          : unreadable(place, whyUnreadable(error))
      )
    )
  )
})

/**
 * Reads the file that `SIDECAR_CONFIG` names (it must exist) or `./sidecar.toml` (it need not), lays the environment's
 * `SIDECAR_<KEY>` over it, and checks everything. Fails with every mistake of both at once.
 */
export const load = Effect.fn("TomlConfig.load")(
  function*(options?: LoadOptions): Effect.fn.Return<Loaded, ConfigError, FileSystem.FileSystem> {
    const env = options?.env ?? process.env
    const place = placeOf(options?.file, env)
    const document = yield* readFile(place, options?.cwd ?? process.cwd())
    const environment = readEnvironment(env)
    const file = document === undefined ? undefined : place.name
    const resolved = resolve([
      ...(document === undefined || file === undefined ? [] : [{ reading: document, origin: () => file }]),
      { reading: environment, origin: (key) => key.env }
    ])
    if (Result.isFailure(resolved)) return yield* fail(resolved.failure)
    return { ...resolved.success, file, warnings: environment.warnings, ignored: environment.ignored }
  }
)

/** Checks an object and fills in the defaults, as {@link load} does for a file. */
export const settingsFrom = (partial: PartialSettings): Effect.Effect<Settings, ConfigError> => {
  const resolved = resolve([{ reading: readSettings("settings", { ...partial }), origin: () => "settings" }])
  return Result.isFailure(resolved) ? fail(resolved.failure) : Effect.succeed(resolved.success.settings)
}

/** The settings of file and environment; warnings are logged. Reads with Node, needs nothing. */
export const layerWith = (options?: LoadOptions): Layer.Layer<SidecarConfig, ConfigError> =>
  Layer.effect(
    SidecarConfig,
    load(options).pipe(
      Effect.tap(({ warnings }) => Effect.forEach(warnings, (line) => Effect.logWarning(line))),
      Effect.map(({ settings }) => settings)
    )
  ).pipe(Layer.provide(NodeFileSystem.layer))

/** {@link layerWith} the environment and the working directory of this process. */
export const layer: Layer.Layer<SidecarConfig, ConfigError> = layerWith()

/**
 * `loaded` as the settings in force, and the way to read them again from where they came. What may change changes in
 * place: whoever reads the service's value at the time of use has the value of that time.
 */
export const layerLive = (
  loaded: Loaded,
  options?: LoadOptions
): Layer.Layer<SidecarConfig | ConfigReload> => {
  const live = new LiveSettings(loaded.settings)
  const listeners = new Set<() => void>()
  const changed = (): void => {
    for (const listener of listeners) listener()
  }
  // One at a time: what was read earlier must not come into force later.
  const turns = Semaphore.makeUnsafe(1)
  const reload = Effect.gen(function*() {
    const { settings, warnings } = yield* load(options)
    // What the door would not take must not be in force either.
    yield* tlsFiles(settings.server).pipe(
      Effect.catchTag("BindError", ({ message }) => fail([{ source: "TLS files", message }]))
    )
    const { max_metadata_bytes: inForce, worker_token_file: tokenFile } = live.settings.server
    if (tokenFile !== undefined && settings.server.max_metadata_bytes > inForce) {
      yield* readToken(tokenFile, settings.server.max_metadata_bytes).pipe(
        Effect.catchTag("BindError", ({ message }) => fail([{ source: "max_metadata_bytes", message }]))
      )
    }
    yield* Effect.forEach(warnings, (line) => Effect.logWarning(line))
    const { live: taken, needRestart } = live.apply(settings)
    if (taken.length > 0) changed()
    return { changed: taken, needRestart }
  })
  return Layer.merge(
    Layer.succeed(SidecarConfig, live.settings),
    Layer.succeed(ConfigReload, {
      reload: turns.withPermit(Effect.provide(reload, NodeFileSystem.layer)),
      setLogLevel: (log_level) =>
        Effect.sync(() => {
          live.apply({ ...live.settings, observability: { ...live.settings.observability, log_level } })
          changed()
        }),
      onChange: (listener) => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      }
    })
  )
}

/** An embedder's settings, without file or environment: any part of them, the rest are the defaults. */
export const layerFrom = (partial: PartialSettings = {}): Layer.Layer<SidecarConfig, ConfigError> =>
  Layer.effect(SidecarConfig, settingsFrom(partial))

/**
 * The settings from the application's `ConfigProvider`: each key by its own name, which is unique across the sections
 * (`worker_uds`), with the checks and the texts of an environment variable. Put the provider where the keys are:
 * `ConfigProvider.nested("sidecar")`, and `ConfigProvider.constantCase` for variables like `SIDECAR_WORKER_UDS`.
 */
export const layerConfigProvider: Layer.Layer<SidecarConfig, ConfigError> = Layer.effect(
  SidecarConfig,
  Effect.gen(function*() {
    const env: Record<string, string> = {}
    for (const { env: name, key } of keys) {
      const value = yield* Config.option(Config.String(key)).pipe(
        Effect.catch((error) => fail([{ source: key, message: error.message }]))
      )
      if (Option.isSome(value)) env[name] = value.value
    }
    const resolved = resolve([{ reading: readEnvironment(env), origin: ({ key }) => key }])
    return Result.isFailure(resolved) ? yield* fail(resolved.failure) : resolved.success.settings
  })
)
