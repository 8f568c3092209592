/**
 * The names of the wire contract (`proto/ai_service.proto`): services, methods, and the fields that the sidecar looks at.
 */
export const AI_INFERENCE = "cy.llm.AiInference"
export const AI_TRAINING = "cy.llm.AiTraining"

/** The methods of AiInference. */
export const AI_INFERENCE_METHODS = ["StreamPredict", "Control", "Health"] as const

/** The methods of AiTraining: carried, never looked into. */
export const AI_TRAINING_METHODS = [
  "StartTraining",
  "GetTrainingStatus",
  "CancelTraining",
  "ListTrainingJobs",
  "ExecuteCustomScript",
  "CancelCustomScript"
] as const

/** What a CY-LLM worker takes and sends in one message, in bytes; also the default of `[server] max_message_bytes`. */
export const MAX_MESSAGE_BYTES = 104_857_600

/** Paths of the methods of AiInference. */
export const STREAM_PREDICT_PATH = `/${AI_INFERENCE}/StreamPredict`
export const CONTROL_PATH = `/${AI_INFERENCE}/Control`
export const HEALTH_PATH = `/${AI_INFERENCE}/Health`
