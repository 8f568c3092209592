import { stringEntry, text, visit, Writer } from "./protobuf.ts"

/** The few messages of the wire contract that the sidecar itself reads and writes. */

export const AI_INFERENCE = "cy.llm.AiInference"
export const AI_TRAINING = "cy.llm.AiTraining"

/** `cy.llm.ControlMessage`. */
export interface ControlMessage {
  readonly traceId: string
  readonly command: string
  readonly payload: Readonly<Record<string, string>>
}

/** The command of a ControlMessage; `undefined` when the bytes are not one. */
export const commandOf = (message: Uint8Array): string | undefined => {
  let command = ""
  const valid = visit(message, {
    bytes: (field, value) => {
      if (field === 2) command = text(value)
    }
  })
  return valid ? command : undefined
}

/** Reads a ControlMessage. Fields after the point at which the bytes stop to be protobuf are left out. */
export const decodeControl = (message: Uint8Array): ControlMessage => {
  let traceId = ""
  let command = ""
  const payload = new Map<string, string>()
  visit(message, {
    bytes: (field, value) => {
      if (field === 1) traceId = text(value)
      else if (field === 2) command = text(value)
      else if (field === 3) payload.set(...stringEntry(value))
    }
  })
  return { traceId, command, payload: Object.fromEntries(payload) }
}

export const encodeControl = (message: ControlMessage): Uint8Array => {
  const writer = new Writer()
  if (message.traceId !== "") writer.string(1, message.traceId)
  if (message.command !== "") writer.string(2, message.command)
  return writer.stringMap(3, message.payload).finish()
}

/** `cy.llm.WorkerHealthResponse`. */
export const encodeHealth = (healthy: boolean, metrics: Readonly<Record<string, string>>): Uint8Array => {
  const writer = new Writer()
  if (healthy) writer.varint(1, 1)
  return writer.stringMap(2, metrics).finish()
}
