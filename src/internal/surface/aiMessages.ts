import { text, visit } from "../wire/protobuf.ts"

/** The services of the wire contract, by their full names. */
export const AI_INFERENCE = "cy.llm.AiInference"
export const AI_TRAINING = "cy.llm.AiTraining"

/** The command of a ControlMessage (field 2); `undefined` when the bytes are not one. */
export const commandOf = (message: Uint8Array): string | undefined => {
  let command = ""
  const valid = visit(message, {
    bytes: (field, value) => {
      if (field === 2) command = text(value)
    }
  })
  return valid ? command : undefined
}

/** The methods of AiTraining: carried, never looked into. */
export const AI_TRAINING_METHODS = [
  "StartTraining",
  "GetTrainingStatus",
  "CancelTraining",
  "ListTrainingJobs",
  "ExecuteCustomScript",
  "CancelCustomScript"
] as const
