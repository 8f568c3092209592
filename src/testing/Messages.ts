import { frame, payloads } from "../internal/wire/frames.ts"
import { stringMapOf, text, visit, Writer } from "../internal/wire/protobuf.ts"
import type { FrameBatch } from "../services/Wire.ts"

/** StreamPredictRequest of the wire contract, with empty values where nothing was sent. */
export interface PredictRequest {
  readonly modelId: string
  readonly prompt: string
  readonly adapter: string
  readonly priority: number
  readonly workerHint: string
  readonly metadata: {
    readonly traceId: string
    readonly tenant: string
    readonly playerId: string
    readonly locale: string
    readonly extra: Readonly<Record<string, string>>
  }
}

/** What a test says about a request; the rest is empty. */
export interface PredictInit {
  readonly modelId?: string | undefined
  readonly prompt?: string | undefined
  readonly adapter?: string | undefined
  readonly priority?: number | undefined
  readonly workerHint?: string | undefined
  readonly traceId?: string | undefined
  readonly tenant?: string | undefined
  readonly playerId?: string | undefined
  readonly locale?: string | undefined
  readonly extra?: Readonly<Record<string, string>> | undefined
}

/** StreamPredictResponse of the wire contract: the four fields that every worker knows. */
export interface PredictReply {
  readonly traceId: string
  readonly chunk: string
  readonly endOfStream: boolean
  readonly index: number
}

const put = (writer: Writer, field: number, value: string | undefined): void => {
  if (value !== undefined && value !== "") writer.string(field, value)
}

/** One request message, without the frame's prefix. */
export const encodeRequest = (init: PredictInit): Uint8Array => {
  const metadata = new Writer()
  put(metadata, 1, init.traceId)
  put(metadata, 2, init.tenant)
  put(metadata, 3, init.playerId)
  put(metadata, 4, init.locale)
  metadata.stringMap(5, init.extra ?? {})
  const writer = new Writer()
  put(writer, 1, init.modelId)
  put(writer, 2, init.prompt)
  put(writer, 3, init.adapter)
  if (init.priority !== undefined && init.priority !== 0) writer.varint(4, init.priority)
  const inner = metadata.finish()
  if (inner.length > 0) writer.bytes(6, inner)
  put(writer, 7, init.workerHint)
  return writer.finish()
}

/** A test knows what it sends. */
const UNBOUNDED = { keyBytes: Infinity, valueBytes: Infinity }

/** A request message as a worker reads it; fields that are not known are left out. */
export const decodeRequest = (message: Uint8Array): PredictRequest => {
  const fields: Array<string> = []
  const metadata: Array<string> = []
  const extra: Array<Uint8Array> = []
  let priority = 0
  visit(message, {
    varint: (field, value) => {
      if (field === 4) priority = value | 0
    },
    bytes: (field, value) => {
      if (field !== 6) {
        fields[field] = text(value)
        return
      }
      visit(value, {
        bytes: (inner, part) => {
          if (inner === 5) extra.push(part)
          else metadata[inner] = text(part)
        }
      })
    }
  })
  return {
    modelId: fields[1] ?? "",
    prompt: fields[2] ?? "",
    adapter: fields[3] ?? "",
    priority,
    workerHint: fields[7] ?? "",
    metadata: {
      traceId: metadata[1] ?? "",
      tenant: metadata[2] ?? "",
      playerId: metadata[3] ?? "",
      locale: metadata[4] ?? "",
      extra: { ...stringMapOf(extra, UNBOUNDED) }
    }
  }
}

/** One reply message, without the frame's prefix. */
export const encodeReply = (reply: Partial<PredictReply>): Uint8Array => {
  const writer = new Writer()
  put(writer, 1, reply.traceId)
  put(writer, 2, reply.chunk)
  if (reply.endOfStream === true) writer.varint(3, 1)
  if (reply.index !== undefined && reply.index !== 0) writer.varint(4, reply.index)
  return writer.finish()
}

/** A reply message as a gateway reads it. */
export const decodeReply = (message: Uint8Array): PredictReply => {
  let traceId = ""
  let chunk = ""
  let endOfStream = false
  let index = 0
  visit(message, {
    varint: (field, value) => {
      if (field === 3) endOfStream = value !== 0
      else if (field === 4) index = value
    },
    bytes: (field, value) => {
      if (field === 1) traceId = text(value)
      else if (field === 2) chunk = text(value)
    }
  })
  return { traceId, chunk, endOfStream, index }
}

/** Messages as the frames that travel: each with its 5-byte prefix, all of them one batch. */
export const framed = (...messages: ReadonlyArray<Uint8Array>): FrameBatch => {
  const frames = messages.map((message) => frame(message))
  const out = new Uint8Array(frames.reduce((size, one) => size + one.length, 0))
  let at = 0
  for (const one of frames) {
    out.set(one, at)
    at += one.length
  }
  return out
}

/** The messages in a batch of frames, without their prefixes. */
export const unframed = (batch: FrameBatch): ReadonlyArray<Uint8Array> => payloads(batch)
