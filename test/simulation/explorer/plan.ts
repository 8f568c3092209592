import { type TestConfig, Timeline } from "../../../src/testing.ts"
import type { Machine } from "./virtualTime.ts"

/** How the worker answers one stream; it travels in the request, so that every attempt is answered alike. */
export interface Script {
  readonly tokens: number
  readonly notices: number
  readonly firstAfterMillis: number
  readonly everyMillis: number
  readonly batch: number
  /** Initial metadata before the first frame, as a real worker sends. */
  readonly headers: boolean
  /**
   * - `ok`: `end_of_stream`, OK; `usage`: the same, with the worker's own count in the trailers;
   * - `linger`: `end_of_stream`, and the trailers a minute later;
   * - `unfinished`: OK without `end_of_stream`; `empty`: OK without a frame;
   * - `error`: RESOURCE_EXHAUSTED after the tokens; `internal`: INTERNAL before anything; `invalid`: INVALID_ARGUMENT
   *   before anything;
   * - `stuck`: silence after the tokens.
   */
  readonly end: "ok" | "usage" | "linger" | "unfinished" | "empty" | "error" | "internal" | "invalid" | "stuck"
}

/** One call of a gateway. Times are virtual milliseconds. */
export interface Call {
  readonly atMillis: number
  readonly script: Script
  readonly priority: number
  /** Size of the request's padding. */
  readonly paddingBytes: number
  readonly timeoutMillis?: number | undefined
  readonly cancelAfterMillis?: number | undefined
  readonly vanishAfterMillis?: number | undefined
  readonly cancelAfterMessages?: number | undefined
  readonly reader: "eager" | { readonly everyMillis: number } | { readonly stallAfter: number }
  readonly windowBytes: number
  readonly halfClose: "at once" | "at the end" | "never"
  readonly notice: boolean
  /** Its metadata is full of what must not pass. */
  readonly odd: boolean
  /** Not StreamPredict but a method that the sidecar gives no meaning. */
  readonly foreign: boolean
}

/** What is done to the sidecar itself. */
export interface Operation {
  readonly atMillis: number
  readonly what: "announce reload" | "announce ready" | "reconnect" | "drain" | "undrain" | "abort"
  /** Of an announced reload, in seconds. */
  readonly etaSeconds?: number | undefined
}

/** A whole run, drawn from its seed. Everything in it can be left out, which is what shrinking does. */
export interface Plan {
  readonly seed: number
  readonly machine: Machine
  readonly config: TestConfig.Overrides
  readonly worker: {
    readonly threads?: number | undefined
    readonly generationSurvivesCancel: boolean
    readonly watch: boolean
  }
  readonly timeline: Timeline.Timeline
  readonly operations: ReadonlyArray<Operation>
  readonly calls: ReadonlyArray<Call>
  /** When everything is healed. */
  readonly healAtMillis: number
}

const seconds = (millis: number): string => `${millis / 1000}s`

const readerWords = (reader: Call["reader"]): string =>
  reader === "eager"
    ? ""
    : "everyMillis" in reader
    ? `, reads one message each ${reader.everyMillis} ms`
    : `, reads nothing after ${reader.stallAfter} messages`

const callWords = (call: Call, n: number): string => {
  const { script } = call
  const parts = [
    `${script.tokens} tokens each ${script.everyMillis} ms`,
    ...(script.firstAfterMillis > 0 ? [`the first after ${script.firstAfterMillis} ms`] : []),
    ...(script.batch > 1 ? [`${script.batch} at a time`] : []),
    ...(script.headers ? ["headers first"] : []),
    ...(script.notices > 0 ? [`${script.notices} notices`] : []),
    ...(script.end === "ok" ? [] : [`end: ${script.end}`]),
    ...(call.priority === 0 ? [] : [`priority ${call.priority}`]),
    ...(call.paddingBytes === 0 ? [] : [`${call.paddingBytes} bytes of padding`]),
    ...(call.timeoutMillis === undefined ? [] : [`deadline ${call.timeoutMillis} ms`]),
    ...(call.cancelAfterMillis === undefined ? [] : [`cancels after ${call.cancelAfterMillis} ms`]),
    ...(call.vanishAfterMillis === undefined ? [] : [`vanishes after ${call.vanishAfterMillis} ms`]),
    ...(call.cancelAfterMessages === undefined ? [] : [`cancels after ${call.cancelAfterMessages} messages`]),
    ...(call.windowBytes === 65_536 ? [] : [`window ${call.windowBytes} bytes`]),
    ...(call.halfClose === "at once" ? [] : [`half-closes ${call.halfClose}`]),
    ...(call.notice ? ["asks for a notice"] : []),
    ...(call.odd ? ["odd metadata"] : []),
    ...(call.foreign ? ["another method"] : [])
  ]
  return `at ${seconds(call.atMillis)}: gateway ${n}: ${parts.join(", ")}${readerWords(call.reader)}`
}

const operationWords = (operation: Operation): string =>
  `at ${seconds(operation.atMillis)}: operator: ${operation.what}${
    operation.etaSeconds === undefined ? "" : ` for ${operation.etaSeconds}s`
  }`

/** A plan in words, for people. */
export const format = (plan: Plan): string => {
  const config = Object.entries(plan.config).flatMap(([section, keys]) =>
    Object.entries(keys ?? {}).map(([key, value]) => `[${section}] ${key} = ${JSON.stringify(value)}`)
  )
  const { machine, worker } = plan
  const events = [
    ...plan.timeline.map(({ action, atMillis }) => ({
      atMillis,
      words: `at ${seconds(atMillis)}: worker: ${Timeline.formatAction(action)}`
    })),
    ...plan.operations.map((operation) => ({ atMillis: operation.atMillis, words: operationWords(operation) })),
    ...plan.calls.map((call, n) => ({ atMillis: call.atMillis, words: callWords(call, n) }))
  ].sort((a, b) => a.atMillis - b.atMillis)
  return [
    ...config,
    `machine: ${JSON.stringify(machine)}`,
    `worker: ${JSON.stringify(worker)}`,
    ...events.map(({ words }) => words),
    `at ${seconds(plan.healAtMillis)}: everything is healed`
  ].join("\n")
}
