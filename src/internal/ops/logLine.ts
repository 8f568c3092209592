import { Cause, Formatter, Option } from "effect"

/** One log event, ready to be spelt. */
export interface LogEntry {
  readonly time: Date
  /** As Effect names it: `Info`, `Warn`, … */
  readonly level: string
  readonly message: string
  /** Annotations, spans (`<label>_ms`) and the `error`; in this order. */
  readonly fields: ReadonlyArray<readonly [name: string, value: unknown]>
  /** Of a defect only: an expected failure is told in one line. */
  readonly stack: string | undefined
}

const reserved: ReadonlySet<string> = new Set(["time", "level", "msg", "stack"])

const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const textOf = (part: unknown): string =>
  typeof part === "string" ? part : part instanceof Error ? `${part.name}: ${part.message}` : Formatter.format(part)

const failureText = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrElse(Cause.findErrorOption(cause), () => Cause.squash(cause))
  return error instanceof Error ? error.message : textOf(error)
}

/** What a logger was given, in the order of an entry: plain objects among the messages become fields. */
export const logEntry = (event: {
  readonly time: Date
  readonly level: string
  readonly message: unknown
  readonly annotations: Readonly<Record<string, unknown>>
  readonly spans: ReadonlyArray<readonly [label: string, startedAt: number]>
  readonly cause: Cause.Cause<unknown>
}): LogEntry => {
  const parts: ReadonlyArray<unknown> = Array.isArray(event.message) ? event.message : [event.message]
  const fields: Array<readonly [string, unknown]> = Object.entries(event.annotations)
  for (const part of parts) if (isPlain(part)) fields.push(...Object.entries(part))
  for (const [label, startedAt] of event.spans) fields.push([`${label}_ms`, event.time.getTime() - startedAt])
  const failed = event.cause.reasons.length > 0
  if (failed) fields.push(["error", failureText(event.cause)])
  return {
    time: event.time,
    level: event.level,
    message: parts.filter((part) => !isPlain(part)).map(textOf).join(" "),
    fields,
    stack: failed && Cause.hasDies(event.cause) ? Cause.pretty(event.cause) : undefined
  }
}

const isScalar = (value: unknown): boolean => typeof value !== "object" && typeof value !== "bigint"

/** `{"time":…,"level":"info","msg":…,…fields}`; a field that is named like one of ours gets a `_` behind its name. */
export const jsonLine = (entry: LogEntry): string => {
  const line: Record<string, unknown> = {
    time: entry.time.toISOString(),
    level: entry.level.toLowerCase(),
    msg: entry.message
  }
  let scalar = true
  for (const [name, value] of entry.fields) {
    scalar &&= isScalar(value)
    if (name === "__proto__") Object.defineProperty(line, name, { value, enumerable: true })
    else line[reserved.has(name) ? `${name}_` : name] = value
  }
  if (entry.stack !== undefined) line["stack"] = entry.stack
  return scalar ? JSON.stringify(line) : Formatter.formatJson(line)
}

const colors: Readonly<Record<string, string>> = {
  Trace: "90",
  Debug: "34",
  Info: "32",
  Warn: "33",
  Error: "31",
  Fatal: "31;1"
}

/** A line stays a line, and a terminal obeys nobody who speaks through a message. */
const oneLine = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replaceAll(/[\u0000-\u001F\u007F-\u009F]/g, (char) => JSON.stringify(char).slice(1, -1).replace(/^[^\\]$/, "?"))

const fieldValue = (value: unknown): string => {
  if (typeof value === "string") {
    return value !== "" && /^[^\s"=]+$/.test(value)
      ? oneLine(value)
      : JSON.stringify(value)
  }
  return isScalar(value) ? String(value) : oneLine(Formatter.formatJson(value))
}

/** `2025-08-01T10:00:00.000Z  INFO message  name=value`, then the stack of a defect, indented. */
export const prettyLine = (entry: LogEntry, color: boolean): string => {
  const paint = (code: string, text: string): string => color ? `\u001B[${code}m${text}\u001B[0m` : text
  const level = paint(colors[entry.level] ?? "0", entry.level.toUpperCase().padStart(5))
  const fields = entry.fields.map(([name, value]) => ` ${paint("2", `${name}=`)}${fieldValue(value)}`).join("")
  const head = `${paint("2", entry.time.toISOString())} ${level} ${oneLine(entry.message)}${
    fields === "" ? "" : " " + fields
  }`
  return entry.stack === undefined
    ? head
    : [head, ...entry.stack.split("\n").map((line) => `    ${oneLine(line)}`)].join("\n")
}
