import type { PredictReply, PredictRequest } from "../../services/LlmClient.ts"
import { stringMapOf, text, visit, Writer } from "../wire/protobuf.ts"

const put = (writer: Writer, field: number, value: string | undefined): void => {
  if (value !== undefined && value !== "") writer.string(field, value)
}

const putNumber = (writer: Writer, field: number, value: number | undefined): void => {
  if (value !== undefined && value !== 0) writer.double(field, value)
}

const putMessage = (writer: Writer, field: number, message: Writer): void => {
  const bytes = message.finish()
  if (bytes.length > 0) writer.bytes(field, bytes)
}

/** StreamPredictRequest (wire contract) as bytes. */
export const encodePredictRequest = (request: PredictRequest): Uint8Array => {
  const { extra, generation, priority } = request
  const writer = new Writer()
  put(writer, 1, request.model)
  put(writer, 2, request.prompt)
  put(writer, 3, request.adapter)
  if (priority !== undefined && priority !== 0) writer.varint(4, priority)
  const parameters = new Writer()
  if (generation?.maxNewTokens !== undefined && generation.maxNewTokens > 0) {
    parameters.varint(1, generation.maxNewTokens)
  }
  putNumber(parameters, 2, generation?.temperature)
  putNumber(parameters, 3, generation?.topP)
  putNumber(parameters, 4, generation?.repetitionPenalty)
  putMessage(writer, 5, parameters)
  const metadata = new Writer()
  put(metadata, 1, request.traceId)
  put(metadata, 2, request.tenant)
  put(metadata, 3, request.playerId)
  put(metadata, 4, request.locale)
  metadata.stringMap(5, extra ?? {})
  putMessage(writer, 6, metadata)
  put(writer, 7, request.workerHint)
  return writer.finish()
}

const empty = new Uint8Array()

/**
 * StreamPredictResponse (wire contract) from bytes; of bytes that stop to be protobuf, what stands before.
 *
 * `notices`: `[metering] notice_prefixes`.
 */
export const decodePredictReply = (message: Uint8Array, notices: ReadonlyArray<string>): PredictReply => {
  let traceId: Uint8Array = empty
  let chunkBytes: Uint8Array = empty
  let endOfStream = false
  let index = 0
  let ttftMillis = 0
  let tokensPerSec = 0
  visit(message, {
    bytes: (field, value) => {
      if (field === 1) traceId = value
      else if (field === 2) chunkBytes = value
    },
    varint: (field, value) => {
      if (field === 3) endOfStream = value !== 0
      else if (field === 4) index = value
    },
    float: (field, value) => {
      if (field === 5) ttftMillis = value
      else if (field === 6) tokensPerSec = value
    }
  })
  const chunk = text(chunkBytes)
  const isNotice = chunk !== "" && notices.some((prefix) => chunk.startsWith(prefix))
  return { traceId: text(traceId), chunk, isNotice, endOfStream, index, ttftMillis, tokensPerSec }
}

/** A map of a request is somebody else's: far more than any has. */
const MAX_ENTRIES = 256
const MAP_BOUNDS = { keyBytes: 256, valueBytes: 4096 }

/** StreamPredictRequest (wire contract) from bytes; of bytes that stop to be protobuf, what stands before. */
export const decodePredictRequest = (message: Uint8Array): PredictRequest => {
  const fields: Array<Uint8Array> = []
  let priority = 0
  visit(message, {
    bytes: (field, value) => {
      if (field <= 7) fields[field] = value
    },
    varint: (field, _, low32) => {
      if (field === 4) priority = low32
    }
  })
  const numbers: Array<number> = []
  visit(fields[5] ?? empty, {
    varint: (field, value) => {
      if (field === 1) numbers[1] = value
    },
    double: (field, value) => {
      if (field <= 4) numbers[field] = value
    }
  })
  const metadata: Array<Uint8Array> = []
  const extra: Array<Uint8Array> = []
  visit(fields[6] ?? empty, {
    bytes: (field, value) => {
      if (field === 5 && extra.length < MAX_ENTRIES) extra.push(value)
      else if (field < 5) metadata[field] = value
    }
  })
  const word = (value: Uint8Array | undefined): string => text(value ?? empty)
  return {
    model: word(fields[1]),
    prompt: word(fields[2]),
    adapter: word(fields[3]),
    priority,
    generation: {
      maxNewTokens: numbers[1] ?? 0,
      temperature: numbers[2] ?? 0,
      topP: numbers[3] ?? 0,
      repetitionPenalty: numbers[4] ?? 0
    },
    workerHint: word(fields[7]),
    traceId: word(metadata[1]),
    tenant: word(metadata[2]),
    playerId: word(metadata[3]),
    locale: word(metadata[4]),
    extra: { ...stringMapOf(extra, MAP_BOUNDS) }
  }
}
