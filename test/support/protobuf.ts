/**
 * The few messages of the wire contract that the tests speak, written by hand: what the sidecar carries is judged by
 * bytes that none of its own code has made.
 */

const varint = (value: number): Buffer => {
  const bytes: Array<number> = []
  let rest = value
  while (rest > 0x7f) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

export const field = {
  varint: (number: number, value: number): Buffer => Buffer.concat([varint(number * 8), varint(value)]),
  bytes: (number: number, value: Uint8Array): Buffer =>
    Buffer.concat([varint(number * 8 + 2), varint(value.length), value]),
  string: (number: number, value: string): Buffer => field.bytes(number, Buffer.from(value)),
  fixed32: (number: number, value: Uint8Array): Buffer => Buffer.concat([varint(number * 8 + 5), value])
}

const stringMap = (number: number, entries: Readonly<Record<string, string>>): Array<Buffer> =>
  Object.entries(entries).map(([key, value]) =>
    field.bytes(number, Buffer.concat([field.string(1, key), field.string(2, value)]))
  )

/** A field that no version of the contract knows. */
export const unknownField = field.bytes(2001, Buffer.from([0xff, 0x00, 0x80, 0x0a]))

export interface RequestFields {
  readonly model?: string
  readonly prompt?: string
  readonly adapter?: string
  readonly priority?: number
  readonly traceId?: string
  readonly tenant?: string
  readonly playerId?: string
  readonly extra?: Uint8Array
}

/** A StreamPredictRequest. */
export const request = (fields: RequestFields = {}): Buffer => {
  const metadata = [
    ...(fields.traceId === undefined ? [] : [field.string(1, fields.traceId)]),
    ...(fields.tenant === undefined ? [] : [field.string(2, fields.tenant)]),
    ...(fields.playerId === undefined ? [] : [field.string(3, fields.playerId)])
  ]
  return Buffer.concat([
    field.string(1, fields.model ?? "qwen-7b"),
    field.string(2, fields.prompt ?? "你好"),
    ...(fields.adapter === undefined ? [] : [field.string(3, fields.adapter)]),
    ...(fields.priority === undefined ? [] : [field.varint(4, fields.priority)]),
    ...(metadata.length === 0 ? [] : [field.bytes(6, Buffer.concat(metadata))]),
    ...(fields.extra === undefined ? [] : [fields.extra])
  ])
}

export interface TokenFields {
  readonly traceId?: string
  readonly end?: boolean
  readonly ttftMillis?: number
  readonly extra?: Uint8Array
}

/** A StreamPredictResponse. Zero values are left out, as proto3 does. */
export const token = (index: number, chunk: string, fields: TokenFields = {}): Buffer => {
  const ttft = Buffer.alloc(4)
  ttft.writeFloatLE(fields.ttftMillis ?? 0)
  return Buffer.concat([
    ...(fields.traceId === undefined ? [] : [field.string(1, fields.traceId)]),
    ...(chunk === "" ? [] : [field.string(2, chunk)]),
    ...(fields.end === true ? [field.varint(3, 1)] : []),
    ...(index === 0 ? [] : [field.varint(4, index)]),
    ...(fields.ttftMillis === undefined ? [] : [field.fixed32(5, ttft)]),
    ...(fields.extra === undefined ? [] : [fields.extra])
  ])
}

/** `count` ordinary tokens from `index` on. */
export const tokens = (count: number, index = 0): Array<Buffer> =>
  Array.from({ length: count }, (_, at) => token(index + at, `词${index + at} `))

/** The empty last message of a stream. */
export const endOfStream = (index: number): Buffer => token(index, "", { end: true, ttftMillis: 12.5 })

/** A WorkerHealthResponse. */
export const health = (healthy: boolean, metrics: Readonly<Record<string, string>> = {}): Buffer =>
  Buffer.concat([...(healthy ? [field.varint(1, 1)] : []), ...stringMap(2, metrics)])

/** A ControlMessage. */
export const control = (command: string, payload: Readonly<Record<string, string>> = {}, traceId = "t-1"): Buffer =>
  Buffer.concat([field.string(1, traceId), field.string(2, command), ...stringMap(3, payload)])

type Value = number | Buffer

/** The fields of a message by number, in order; varints as numbers, everything else as bytes. */
export const fieldsOf = (message: Uint8Array): Map<number, Array<Value>> => {
  const bytes = Buffer.from(message)
  const out = new Map<number, Array<Value>>()
  let at = 0
  const number = (): number => {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined) throw new Error("the message ends inside a varint")
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 0x80
    }
  }
  const slice = (size: number): Buffer => {
    if (at + size > bytes.length) throw new Error("the message ends inside a field")
    at += size
    return bytes.subarray(at - size, at)
  }
  while (at < bytes.length) {
    const tag = number()
    const kind = tag % 8
    const value = kind === 0 ? number() : slice(kind === 1 ? 8 : kind === 5 ? 4 : number())
    const key = Math.floor(tag / 8)
    out.set(key, [...(out.get(key) ?? []), value])
  }
  return out
}

export const textOf = (message: Uint8Array, number: number): string => String(fieldsOf(message).get(number)?.[0] ?? "")

const mapOf = (message: Uint8Array, number: number): Record<string, string> =>
  Object.fromEntries(
    (fieldsOf(message).get(number) ?? []).map((entry) =>
      Buffer.isBuffer(entry) ? [textOf(entry, 1), textOf(entry, 2)] : ["", ""]
    )
  )

export const healthOf = (message: Uint8Array): { healthy: boolean; metrics: Record<string, string> } => ({
  healthy: fieldsOf(message).get(1)?.[0] === 1,
  metrics: mapOf(message, 2)
})

export const controlOf = (
  message: Uint8Array
): { traceId: string; command: string; payload: Record<string, string> } => ({
  traceId: textOf(message, 1),
  command: textOf(message, 2),
  payload: mapOf(message, 3)
})

export interface StatusDetails {
  readonly code: number
  readonly message: string
  /** Type URL and value of each detail. */
  readonly details: ReadonlyArray<{ readonly type: string; readonly value: Buffer }>
  /** `google.rpc.RetryInfo.retry_delay` in milliseconds. */
  readonly retryMillis: number | undefined
}

/** A `google.rpc.Status` as `grpc-status-details-bin` carries it. */
export const statusDetailsOf = (bytes: Uint8Array): StatusDetails => {
  const fields = fieldsOf(bytes)
  const details = (fields.get(3) ?? []).map((any) => {
    const inner = Buffer.isBuffer(any) ? fieldsOf(any) : new Map<number, Array<Value>>()
    const value = inner.get(2)?.[0]
    return { type: String(inner.get(1)?.[0] ?? ""), value: Buffer.isBuffer(value) ? value : Buffer.alloc(0) }
  })
  const retry = details.find((detail) => detail.type === "type.googleapis.com/google.rpc.RetryInfo")
  const duration = retry === undefined ? undefined : fieldsOf(retry.value).get(1)?.[0]
  const parts = Buffer.isBuffer(duration) ? fieldsOf(duration) : undefined
  return {
    code: Number(fields.get(1)?.[0] ?? 0),
    message: String(fields.get(2)?.[0] ?? ""),
    details,
    retryMillis: parts === undefined
      ? undefined
      : Number(parts.get(1)?.[0] ?? 0) * 1000 + Number(parts.get(2)?.[0] ?? 0) / 1e6
  }
}

/** One message with its 5-byte prefix. */
export const frame = (message: Uint8Array, flag = 0): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix[0] = flag
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

/** Cuts messages from bytes as they come. */
export class Cutter {
  #rest = Buffer.alloc(0)
  #parts: Array<Buffer> = []
  #size = 0
  #need = 5

  push(chunk: Buffer): Array<{ readonly flag: number; readonly message: Buffer }> {
    this.#parts.push(chunk)
    this.#size += chunk.length
    const out: Array<{ readonly flag: number; readonly message: Buffer }> = []
    if (this.#size < this.#need) return out
    this.#rest = Buffer.concat(this.#parts)
    let at = 0
    this.#need = 5
    while (this.#rest.length - at >= 5) {
      const size = this.#rest.readUInt32BE(at + 1)
      if (this.#rest.length - at < 5 + size) {
        this.#need = 5 + size
        break
      }
      out.push({ flag: this.#rest[at]!, message: this.#rest.subarray(at + 5, at + 5 + size) })
      at += 5 + size
    }
    this.#parts = at === this.#rest.length ? [] : [this.#rest.subarray(at)]
    this.#size = this.#rest.length - at
    this.#rest = Buffer.alloc(0)
    return out
  }

  /** Bytes of a message that has begun. */
  get pending(): number {
    return this.#size
  }
}
