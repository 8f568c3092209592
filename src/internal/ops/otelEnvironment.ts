import { Config, Effect, Option } from "effect"
import { hostname } from "node:os"
import { headerSecrets } from "../outbound/conceal.ts"
import { endpointOf, secretsOf } from "../outbound/endpoint.ts"
import { version } from "../version.ts"
import { tracesEndpoint } from "./otlpAnswer.ts"
import { defaultSampler, type Sampler, samplerNames, samplerOf } from "./sampler.ts"

/** How spans are encoded; both are OTLP over HTTP. */
export type OtlpProtocol = "http/json" | "http/protobuf"

/** Where traces go and which ones. */
export interface OtlpSettings {
  /** Without credentials: it may be shown. */
  readonly url: URL
  /** May hold secrets: never to be shown. */
  readonly headers: Readonly<Record<string, string>>
  /** What a collector may repeat, and nobody may read in a log. */
  readonly secrets: ReadonlyArray<string>
  readonly protocol: OtlpProtocol
  readonly gzip: boolean
  /** For one request. */
  readonly timeoutMillis: number
  readonly sampler: Sampler
  /** The resource's attributes. */
  readonly resource: Readonly<Record<string, string>>
  /** One line for each variable that says something we cannot do: it is ignored, as OpenTelemetry wants it. */
  readonly warnings: ReadonlyArray<string>
}

const defaultTimeoutMillis = 10_000

/** A variable; an empty one is not set (OpenTelemetry, "Environment Variable Specification"). */
const variable = (name: string): Effect.Effect<string | undefined> =>
  Config.option(Config.String(name)).pipe(
    Effect.map((value) => Option.getOrUndefined(value)?.trim() || undefined),
    Effect.orElseSucceed(() => undefined)
  )

/** The variable for traces goes before that for all signals. */
const signalVariable = Effect.fnUntraced(function*(name: string) {
  for (const one of [`OTEL_EXPORTER_OTLP_TRACES_${name}`, `OTEL_EXPORTER_OTLP_${name}`]) {
    const value = yield* variable(one)
    if (value !== undefined) return { name: one, value }
  }
  return undefined
})

const isOff = Effect.gen(function*() {
  const disabled = yield* variable("OTEL_SDK_DISABLED")
  const exporter = yield* variable("OTEL_TRACES_EXPORTER")
  return disabled?.toLowerCase() === "true" || exporter?.toLowerCase() === "none"
})

/**
 * Whether streams are traced: `configured` (`[observability] otlp_endpoint`) or OpenTelemetry's own variables name a
 * collector, and none of these turns tracing off.
 */
export const isTraced = (configured: string | undefined): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    return (configured !== undefined || (yield* signalVariable("ENDPOINT")) !== undefined) && !(yield* isOff)
  })

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.trim())
  } catch {
    return undefined
  }
}

/** `key=value,key=value`, percent-encoded like W3C Baggage; `undefined`: it is not. */
const pairs = (text: string): Record<string, string> | undefined => {
  const found: Record<string, string> = {}
  for (const part of text.split(",").filter((part) => part.trim() !== "")) {
    const at = part.indexOf("=")
    const [key, value] = [decoded(part.slice(0, Math.max(0, at))), decoded(part.slice(at + 1))]
    if (at < 1 || key === undefined || key === "" || value === undefined) return undefined
    found[key] = value
  }
  return found
}

/** Whether all of it can be sent (RFC 9110 §5.1, §5.5): Node throws at what cannot. */
const areHeaders = (headers: Readonly<Record<string, string>>): boolean =>
  Object.entries(headers).every(([name, value]) =>
    /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && /^[\x20-\x7e\t]*$/.test(value)
  )

const isHttp = (text: string): boolean => /^https?:\/\/[^/\s]/i.test(text) && URL.canParse(text)

/**
 * What the configuration and OpenTelemetry's environment say together; `undefined`: nothing is traced. The key of our own
 * configuration goes before the variables of every program.
 */
export const otlpSettings = (configured: string | undefined): Effect.Effect<OtlpSettings | undefined> =>
  Effect.gen(function*() {
    if (!(yield* isTraced(configured))) return undefined
    const warnings: Array<string> = []
    const ignored = (name: string, value: string, expected: string): void => {
      warnings.push(`${name}: expected ${expected}, got "${value.slice(0, 100)}"; ignored`)
    }
    /** Never with what it says: it may hold a secret. */
    const unreadable = (name: string): void => {
      warnings.push(`${name}: expected key=value,key=value, percent-encoded; ignored`)
    }

    const endpoint = yield* signalVariable("ENDPOINT")
    const own = configured === undefined && endpoint !== undefined
    if (own && !isHttp(endpoint.value)) {
      // Not what it says: an address may hold a password.
      warnings.push(`${endpoint.name}: expected an http:// or https:// URL; nothing is traced`)
      return undefined
    }
    const address = configured ?? endpoint?.value ?? ""
    // The variable for traces is their whole address, that for all signals is a base (OTLP exporter specification).
    const { authorization, url } = own && endpoint.name === "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
      ? endpointOf(address)
      : tracesEndpoint(address)

    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    const given = yield* signalVariable("HEADERS")
    const read = given === undefined ? {} : pairs(given.value)
    const parsed = read !== undefined && areHeaders(read) ? read : undefined
    if (given !== undefined && parsed === undefined) unreadable(given.name)
    for (const [name, value] of Object.entries(parsed ?? {})) headers[name.toLowerCase()] = value

    const protocol = yield* signalVariable("PROTOCOL")
    if (protocol?.value === "grpc") {
      ignored(protocol.name, "grpc", "http/protobuf or http/json (and the collector's HTTP port, 4318 by default)")
    } else if (protocol !== undefined && protocol.value !== "http/protobuf" && protocol.value !== "http/json") {
      ignored(protocol.name, protocol.value, "http/protobuf or http/json")
    }

    const compression = yield* signalVariable("COMPRESSION")
    if (compression !== undefined && compression.value !== "gzip" && compression.value !== "none") {
      ignored(compression.name, compression.value, "gzip or none")
    }

    const timeout = yield* signalVariable("TIMEOUT")
    const millis = timeout === undefined ? defaultTimeoutMillis : Number(timeout.value)
    const isTime = Number.isFinite(millis) && millis > 0
    if (timeout !== undefined && !isTime) ignored(timeout.name, timeout.value, "milliseconds, more than 0")

    const argument = yield* variable("OTEL_TRACES_SAMPLER_ARG")
    const ratio = argument === undefined ? 1 : Number(argument)
    const isRatio = ratio >= 0 && ratio <= 1
    const name = yield* variable("OTEL_TRACES_SAMPLER")
    const sampler = name === undefined ? defaultSampler : samplerOf(name, isRatio ? ratio : 1)
    if (sampler === undefined) ignored("OTEL_TRACES_SAMPLER", name ?? "", `one of ${samplerNames.join(", ")}`)
    if (name?.endsWith("traceidratio") === true && !isRatio) {
      ignored("OTEL_TRACES_SAMPLER_ARG", argument ?? "", "a number from 0 to 1")
    }

    const attributes = yield* variable("OTEL_RESOURCE_ATTRIBUTES")
    const resource = attributes === undefined ? {} : pairs(attributes)
    if (resource === undefined) unreadable("OTEL_RESOURCE_ATTRIBUTES")
    const serviceName = yield* variable("OTEL_SERVICE_NAME")

    return {
      url,
      headers,
      secrets: [...secretsOf(address), ...headerSecrets(headers)],
      protocol: protocol?.value === "http/protobuf" || protocol?.value === "grpc" ? "http/protobuf" : "http/json",
      gzip: compression?.value === "gzip",
      timeoutMillis: isTime ? millis : defaultTimeoutMillis,
      sampler: sampler ?? defaultSampler,
      resource: {
        "service.name": "cy-llm-sidecar",
        "service.version": version,
        "service.instance.id": `${hostname()}:${process.pid}`,
        ...resource,
        ...(serviceName === undefined ? {} : { "service.name": serviceName })
      },
      warnings
    }
  })
