import type { PredictReply, PredictRequest } from "../../services/LlmClient.ts"
import { text, visit, Writer } from "../wire/protobuf.ts"

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
